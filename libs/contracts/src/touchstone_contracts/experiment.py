"""The experiment: one document that says everything that decides the answer."""

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from touchstone_contracts.adaptation import Evaluation, Metric
from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import MAIN_TEST_SET, ClassNames
from touchstone_contracts.curation import LABEL_CONFLICTS, Curation, with_default_conflicts
from touchstone_contracts.exclusions import Exclusion
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.suggestions import unknown
from touchstone_contracts.values import Fraction, Name, Posted, Seed, Size, Strict, Title, WhenSet

CONFIDENCE = 0.95
"""Of intervals, unless a comparison asks for another."""


Spread = Literal["own", "borrowed"]
FailedRuns = Literal["count", "leave_out"]

Stopping = Literal["fixed", "anytime", "planned"]
Spending = Literal["obrien_fleming", "pocock"]

SPREAD: Spread = "borrowed"
"""Of what is planned or judged today and does not say."""
FEWEST_SEEDS = 2
"""An interval needs two."""
MOST_DELTA = 0.2
"""Nobody calls a difference of more than 20 points negligible: such a `delta` was meant in points."""


MOST_SEEDS = 100
Look = Annotated[int, Field(ge=1, le=MOST_SEEDS)]


DEFAULT_RECIPE = CrossEntropy(learning_rates=(1e-5, 1e-4), epochs=10, batch_size=32)
"""The paper's rate in batches of 512 gives a few hundred images one update an epoch: it hardly changes an encoder."""


class SeedSources(NamedTuple):
    """What a seed of an experiment stands for."""

    seed: int
    draw: int
    """Decides the training sets."""
    optimisation: int
    """Decides the training's order, crops and noise."""


class Comparison(Strict):
    """The one primary endpoint: mean over targets and sizes of accuracy(a) - accuracy(b) in `metric`."""

    a: Name
    b: Name
    metric: Metric = "zero_shot"
    test_set: Annotated[Name, WhenSet] = MAIN_TEST_SET
    """One that every target has."""
    delta: Fraction = 0.01
    """Smallest difference that matters, in accuracy: 0.01 is one point. At most 0.2 when an experiment is posted."""
    confidence: float = Field(default=CONFIDENCE, gt=0.5, lt=1)
    stopping: Stopping = "fixed"
    """`fixed`: judged once, when every run is in. `anytime`: may be looked at after every seed, and the experiment
    stopped or cloned with more seeds because of what was seen; the interval is almost three times as wide for it.
    `planned`: judged at each of `looks`, never between, and may be stopped at any of them."""
    looks: Annotated[tuple[Look, ...], WhenSet] = Field(default=(), max_length=20)
    """With `planned`: numbers of seeds, ascending; the last one has all of them."""
    spending: Annotated[Spending, WhenSet] = "obrien_fleming"
    """With `planned`: how the looks share 1 - `confidence`. `obrien_fleming`: the first ones decide only what is
    overwhelming, and the last one has almost all; `pocock`: about alike, for differences said to be large."""
    spread: Annotated[Spread | None, WhenSet] = None
    """Where the variance between seeds comes from. `own`: from the compared arms alone, at each target. `borrowed`:
    from every arm and target of the experiment together, which two or three seeds need. The verdict shows both
    intervals and this one decides. None: `borrowed`, but `own` in judgements planned before there was a choice."""
    failed_runs: Annotated[FailedRuns, WhenSet] = "count"
    """Of runs that ended far below the other seeds on validation. `count`: they are results like any others.
    `leave_out`: the answer is about runs that did not fail. The verdict shows both."""

    @field_validator("delta", mode="before")
    @classmethod
    def _delta_is_an_accuracy(cls, delta: object) -> object:
        if isinstance(delta, int | float) and delta > 1:
            raise ValueError(f"delta is {delta:g}: give it in accuracy: 0.01 is one point")
        return delta

    @property
    def delta_fault(self) -> str:
        """Why `delta` is refused in what is asked today; empty where it is not. Stored comparisons may have any."""
        if self.delta <= MOST_DELTA:
            return ""
        return f"delta is {self.delta:g}, which is {100 * self.delta:g} points: give it in accuracy: 0.01 is one point"

    @model_validator(mode="after")
    def _looks_are_those_of_a_plan(self) -> Self:
        if self.stopping != "planned" and (self.looks or self.spending != "obrien_fleming"):
            raise ValueError(f"looks and spending belong to stopping 'planned', not to {self.stopping!r}")
        if self.stopping == "planned":
            if len(self.looks) < 2 or any(later <= look for look, later in pairwise(self.looks)):
                raise ValueError(
                    "stopping 'planned' needs two or more looks, numbers of seeds in ascending order, as [3, 5, 10]"
                )
            if self.looks[0] < FEWEST_SEEDS:
                raise ValueError(f"looks must have {FEWEST_SEEDS} seeds or more: one seed gives no interval")
        return self


class ExperimentSpec(Posted):
    name: Title
    upstream: Name
    encoder: Name
    targets: tuple[Name, ...] = Field(min_length=1, max_length=50)
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=50)
    sizes: tuple[Size, ...] = Field(min_length=1, max_length=50)
    """Training images in total, all classes together, as in the paper's N."""
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1, max_length=MOST_SEEDS)
    """Each seed draws its own nested subsets and its own optimisation noise."""
    draw_seeds: Annotated[tuple[Seed, ...], WhenSet] = Field(default=(), max_length=MOST_SEEDS)
    """What each of `seeds` draws its training sets with: the same number twice is the same training set twice. Left
    out: the seeds themselves. To tell the variance between training sets from that between runs on one."""
    optimisation_seeds: Annotated[tuple[Seed, ...], WhenSet] = Field(default=(), max_length=MOST_SEEDS)
    """Likewise the order, crops and further noise of each seed's training. A linear probe, which is fitted after it,
    keeps the seed itself."""
    curation: Annotated[Curation, BeforeValidator(with_default_conflicts)] = Curation(label_conflicts=LABEL_CONFLICTS)
    judge_encoder: Annotated[Name | None, WhenSet] = None
    """Says of every curated image which class it shows, for the label cards: a CLIP encoder other than the one that is
    adapted and the one that scores. Left out: label cards are without a judge."""
    recipe: Recipe = DEFAULT_RECIPE
    """Left out: `cross_entropy` for sets of some hundred to some ten thousand images, at the better of two learning
    rates on validation, one for encoders of CLIP's size and one for small ones. A recipe that is named has the paper's
    settings where it states no others."""
    evaluation: Evaluation = Evaluation()
    comparison: Comparison | None = None
    """Left out: the first two arms that train."""
    zero_shot_names: Annotated[ClassNames, WhenSet] = "given"
    """What the zero-shot head calls the classes: that of the untouched encoder, and the one adaptation starts from."""
    sampling_seed: Seed = 0
    """Decides generated images and random draws."""
    exclusions: Annotated[tuple[Exclusion, ...], WhenSet] = Field(default=(), max_length=200)
    """Targets, classes and sizes that were left out, and why; printed with the verdict."""

    @model_validator(mode="after")
    def _entries_are_unique_and_refer_to_each_other(self) -> Self:
        for field, values in (
            ("targets", self.targets),
            ("sizes", self.sizes),
            ("seeds", self.seeds),
            ("arms", tuple(arm.name for arm in self.arms)),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"{field} must not repeat a value")
        self._check_sources()
        if self.comparison is not None:
            self._check(self.comparison)
        for exclusion in self.exclusions:
            self._check_excluded(exclusion)
        return self

    def _check_excluded(self, exclusion: Exclusion) -> None:
        if exclusion.kind == "class" and exclusion.target not in self.targets:
            raise ValueError(f"exclusions: {exclusion.words} is left out of a target that is none of the targets")
        is_target = exclusion.kind == "target" and exclusion.target in self.targets
        if is_target or (exclusion.kind == "size" and exclusion.size in self.sizes):
            raise ValueError(f"exclusions: {exclusion.words} is said to be left out, but is part of the experiment")

    def _check_sources(self) -> None:
        for field, values in (("draw_seeds", self.draw_seeds), ("optimisation_seeds", self.optimisation_seeds)):
            if values and len(values) != len(self.seeds):
                raise ValueError(f"{field} has {len(values)} entries for {len(self.seeds)} seeds: give one for each")
        sources = [(each.draw, each.optimisation) for each in self.seed_sources]
        if len(set(sources)) != len(sources):
            raise ValueError("two seeds have the same draw_seeds and optimisation_seeds entries: they would be one run")

    def _check(self, comparison: Comparison) -> None:
        names = {arm.name for arm in self.arms}
        for field, name in (("a", comparison.a), ("b", comparison.b)):
            if name not in names:
                raise ValueError(f"comparison.{field}: {unknown('arm', name, sorted(names))}")
        if comparison.a == comparison.b:
            raise ValueError("comparison.a and comparison.b must name two different arms")
        if comparison.metric not in self.evaluation.metrics:
            raise ValueError("comparison.metric must be one of evaluation.metrics")
        if comparison.stopping == "planned":
            if comparison.looks[-1] != len(self.seeds):
                raise ValueError(
                    f"the last of comparison.looks is {comparison.looks[-1]}, but there are {len(self.seeds)} seeds: "
                    "it must have them all"
                )
            if list(self.seeds) != sorted(self.seeds):
                raise ValueError("stopping 'planned' looks at the first seeds: list seeds in ascending order")

    @property
    def seed_sources(self) -> tuple[SeedSources, ...]:
        """Of each seed, in their order."""
        draws, optimisations = self.draw_seeds or self.seeds, self.optimisation_seeds or self.seeds
        return tuple(map(SeedSources, self.seeds, draws, optimisations))

    @property
    def training_arms(self) -> tuple[Arm, ...]:
        return tuple(arm for arm in self.arms if arm.trains)

    @property
    def untouched(self) -> Name | None:
        """The arm of the encoder as it is, if there is one."""
        return next((arm.name for arm in self.arms if not arm.trains), None)

    @property
    def primary(self) -> Comparison | None:
        """The declared comparison, or the first two arms that train; None if there are fewer."""
        if self.comparison is not None:
            return self.comparison
        if len(self.training_arms) < 2:
            return None
        first, second = self.training_arms[:2]
        return Comparison(a=first.name, b=second.name, metric=self.evaluation.metrics[0])
