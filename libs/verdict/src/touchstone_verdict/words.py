"""The verdict in plain language. Numbers are in points: hundredths of accuracy. Free of scipy: pages use it too."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.views import BaselineCheck, ComparisonResult, LearningRateCheck

if TYPE_CHECKING:
    from touchstone_verdict.answers import Remedy


def measure_words(metric: Metric, test_set: str) -> str:
    return on_test_set(METRICS[metric].words, test_set)


def points(accuracy: float, *, signed: bool = False) -> str:
    """0.0312 -> "3.1", with a true minus sign."""
    text = f"{abs(accuracy) * 100:.1f}"
    sign = "−" if accuracy < 0 else "+" if signed else ""
    return text if float(text) == 0 else sign + text


PARTIAL = "Some seeds are still to come: only the primary comparison, which is valid at any time, is shown."


def stop_words(primary: ComparisonResult, planned: int | None) -> str:
    """`planned`: seeds in the spec, where not all of them are in."""
    seeds = f"{primary.seeds} seeds" if planned is None else f"{primary.seeds} of {planned} seeds"
    if primary.answer == "undecided":
        return f"Not decided after {seeds}: go on."
    return f"Enough seeds: {seeds} decide, you may stop."


def headline(comparison: Comparison, primary: ComparisonResult, failed: Sequence[BaselineCheck]) -> str:
    """One to three sentences; what failed against the untouched encoder comes before who won."""
    return " ".join([*(_failure(comparison, check) for check in failed), _answer(comparison, primary)])


def _failure(comparison: Comparison, check: BaselineCheck) -> str:
    words = measure_words(check.metric, comparison.test_set)
    return f"{check.arm} ends {points(-check.difference)} points below the untouched encoder in {words}."


def _answer(comparison: Comparison, primary: ComparisonResult) -> str:
    words, delta = measure_words(comparison.metric, comparison.test_set), points(comparison.delta)
    a, b, difference = comparison.a, comparison.b, primary.difference
    if primary.answer == "no_difference":
        within = interval(primary, comparison)
        return f"No difference larger than {delta} points between {a} and {b} in {words} ({within})."
    if primary.answer == "undecided":
        margin = f"{a} minus {b} is {points(difference, signed=True)} points"
        return f"Undecided: in {words}, {margin} ({interval(primary, comparison)})."
    if primary.answer == "b_better":
        a, b = b, a
    small = abs(difference) < comparison.delta
    remark = f", less than the {delta} that were said to matter" if small else ""
    return f"{a} beats {b} by {points(abs(difference))} points of {words} ({interval(primary, comparison)}){remark}."


def interval(result: ComparisonResult, comparison: Comparison) -> str:
    """Of the winner minus the loser where there is a winner, else of a minus b."""
    low, high = (-result.high, -result.low) if result.answer == "b_better" else (result.low, result.high)
    kind = "interval" if comparison.stopping == "fixed" else "anytime-valid interval"
    return f"{comparison.confidence * 100:g} % {kind} {points(low)} to {points(high)}"


def learning_rate_words(checks: Sequence[LearningRateCheck], comparison: Comparison) -> Iterator[str]:
    """The mean over all places, then those places alone where the difference vanishes."""
    if not checks:
        return
    *places, overall = checks
    figures = _swap_words(overall, comparison)
    yield f"The arms chose different learning rates at {len(places)} of their targets and sizes; over all, {figures}"
    for check in places:
        if check.vanishes:
            choices = f"{comparison.a} {check.chosen_a:g}, {comparison.b} {check.chosen_b:g}"
            yield f"{check.target}, size {check.size} ({choices}): {_swap_words(check, comparison)}"


def _swap_words(check: LearningRateCheck, comparison: Comparison) -> str:
    own, swapped = points(check.own, signed=True), points(check.swapped, signed=True)
    margin = f"{comparison.a} minus {comparison.b} is {own} points"
    vanishes = " The difference vanishes." if check.vanishes else ""
    return f"on validation, {margin} with the own choices and {swapped} with each other's.{vanishes}"


def remedy_words(remedy: "Remedy", primary: ComparisonResult) -> str:
    ways = []
    if remedy.seeds is not None:
        ways.append(f"{remedy.seeds} seeds per arm instead of {primary.seeds}")
    if remedy.test_images is not None:
        ways.append(f"about {_rounded(remedy.test_images)} test images instead of {primary.test_images}")
    if not ways:
        return (
            "Neither more seeds nor more test images alone would decide within reason: the difference is too small for "
            "its spread, or too close to the smallest difference that matters."
        )
    return f"If difference and spread stay as measured, {' or '.join(ways)} would decide."


def _rounded(count: int) -> int:
    """Two significant digits: a forecast is no more exact than that."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit
