"""What an experiment can be expected to show, before it runs: spreads and power. Accuracies, so 0.01 is a point."""

from typing import Annotated, Literal

from pydantic import Field

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.values import Lenient, Name, Strict

StandardDeviation = Annotated[float, Field(ge=0, lt=1)]

SpreadSource = Literal["declared", "earlier", "assumed"]
"""`declared`: all three given in the request; `earlier`: from verdicts of earlier experiments; `assumed`: the stated
default, because there is neither."""


class Spread(Lenient):
    """Standard deviations that the width of an interval comes from; docs/verdict.md has the formula."""

    seed_sd: float
    """Of one arm's accuracy between seeds, beyond what the test images add."""
    image_sd: float
    """Of the difference between the arms' chances to classify an image correctly, between images."""
    interaction_sd: float
    """Of a run's correctness on an image around what arm, seed and image explain."""


class TargetSpread(Spread):
    """As measured in the primary comparison at one target, whose sizes are averaged first."""

    target: Name
    seeds: int
    test_images: int


class DeclaredSpread(Strict):
    """What the asker expects; fields left out come from earlier experiments or are assumed."""

    seed_sd: StandardDeviation | None = Field(
        default=None, description="Standard deviation of an arm's accuracy between seeds (0.013 is 1.3 points)"
    )
    image_sd: StandardDeviation | None = Field(
        default=None, description="Standard deviation, between test images, of the arms' difference in accuracy"
    )
    interaction_sd: StandardDeviation | None = Field(
        default=None, description="Standard deviation of what neither seed nor image explains"
    )


class ExpectedSpread(Spread):
    """What the power at one target was computed with."""

    target: Name
    test_images: int
    source: SpreadSource
    """Of what was not declared, unless everything was."""
    same_kinds: bool = False
    """Whether the earlier experiments compared the same kinds of arms."""
    experiments: tuple[str, ...] = ()
    """The earlier experiments; empty where the spread is declared or assumed."""


class Power(Lenient):
    """Of the declared comparison, at its confidence and with its stopping rule."""

    a: Name
    b: Name
    metric: Metric
    test_set: Name
    delta: float
    confidence: float
    seeds: int
    """Per arm."""
    test_images: int
    """Over all targets."""
    share: float
    """How often the smallest difference is found: the share of such experiments whose verdict names the better arm."""
    smallest_difference: float | None
    """That is found with this share; None: not even the largest difference there can be."""
    at_delta: float
    """The share in which a true difference of `delta` is found."""
    seeds_for_delta: int | None = None
    """That many seeds per arm would find `delta` with `share`; None: enough are planned, or not within reason."""
    test_images_for_delta: int | None = None
    """Likewise, over all targets."""
    both_for_delta: tuple[int, int] | None = None
    """So many seeds per arm and test images together, where neither alone suffices."""
    expected: tuple[ExpectedSpread, ...]
    summary: str
    basis: str
    """Where the spreads come from."""
    warning: str | None = None
    """`delta` is smaller than what can be shown, and what to raise."""
