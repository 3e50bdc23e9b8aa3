"""What an experiment can be expected to show, in plain language. Differences are in points: hundredths of accuracy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from touchstone_contracts.power import ExpectedSpread

from touchstone_verdict.words import points

if TYPE_CHECKING:
    from touchstone_verdict.power import Needed

OFTEN = "in four of five experiments"
"""The share of experiments in which the smallest difference is found (power.SHARE)."""


def summary(seeds: int, test_images: int, smallest: float | None) -> str:
    design = f"With {seeds} seed{'s' if seeds != 1 else ''} and {test_images:,} test images"
    if seeds < 2:
        return f"{design}, no difference can be found: an interval needs two seeds at least."
    if smallest is None:
        return f"{design}, no difference would be found {OFTEN}."
    return f"{design}, differences of about {points(smallest)} points or more would be found {OFTEN}."


def warning(seeds: int, test_images: int, delta: float, at_delta: float, needed: "Needed") -> str:
    """Where `delta` is smaller than the smallest difference that is found."""
    share = f"{100 * at_delta:.0f} %" if at_delta >= 0.01 else "less than 1 %"
    return (
        f"The smallest difference that matters, {points(delta)} points, is smaller than that: a true difference of "
        f"this size would be found in {share} of such experiments. {_remedy(seeds, test_images, needed)}"
    )


def _remedy(seeds: int, test_images: int, needed: "Needed") -> str:
    ways = []
    if needed.seeds is not None:
        ways.append(f"{needed.seeds} seeds per arm instead of {seeds}")
    if needed.test_images is not None:
        ways.append(f"about {_rounded(needed.test_images):,} test images instead of {test_images:,}")
    if needed.both is not None:
        more_seeds, more_images = needed.both
        ways.append(
            f"{more_seeds} seeds per arm and about {_rounded(more_images):,} test images (neither alone suffices)"
        )
    if not ways:
        return "No number of seeds and test images within reason would show it: expect less, or raise delta."
    return f"To find it {OFTEN}, plan {' or '.join(ways)}."


def _rounded(count: int) -> int:
    """Up to two significant digits: an expectation is no more exact than that."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def basis(expected: Sequence[ExpectedSpread]) -> str:
    """Where the spreads come from, target by target where that differs."""
    by_words: dict[str, list[str]] = {}
    for entry in expected:
        by_words.setdefault(_source(entry), []).append(entry.target)
    if len(by_words) == 1:
        return f"Spread between seeds and test images: {next(iter(by_words))}."
    parts = (f"{words} ({', '.join(targets)})" for words, targets in by_words.items())
    return f"Spread between seeds and test images: {'; '.join(parts)}."


def _source(entry: ExpectedSpread) -> str:
    if entry.source == "declared":
        return "as declared in the request"
    if entry.source == "assumed":
        return "assumed, because no earlier experiment with this target and metric has a verdict"
    count = len(entry.experiments)
    kinds = "and these kinds of arms" if entry.same_kinds else "but other kinds of arms"
    return f"as in {count} earlier experiment{'s' if count > 1 else ''} with this target and metric {kinds}"
