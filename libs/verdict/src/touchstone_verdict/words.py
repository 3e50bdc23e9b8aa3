"""The verdict in plain language. Numbers are in points: hundredths of accuracy. Free of scipy: pages use it too."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.experiment import Comparison, Stopping
from touchstone_contracts.views import ComparisonResult, LearningRateCheck


def measure_words(metric: Metric, test_set: str) -> str:
    return on_test_set(METRICS[metric].words, test_set)


def points(accuracy: float, *, signed: bool = False) -> str:
    """0.0312 -> "3.1", with a true minus sign."""
    text = f"{abs(accuracy) * 100:.1f}"
    sign = "−" if accuracy < 0 else "+" if signed else ""
    return text if float(text) == 0 else sign + text


PARTIAL = "Some seeds are still to come: only the primary comparison, which is valid at any time, is shown."
BETWEEN_LOOKS = "Some seeds are still to come: only the primary comparison, at the look that was declared, is shown."
INTERVALS: dict[Stopping, str] = {
    "fixed": "interval",
    "anytime": "anytime-valid interval",
    "planned": "interval for the declared looks",
}


def stop_words(primary: ComparisonResult, planned: int | None) -> str:
    """`planned`: seeds in the spec, where not all of them are in."""
    seeds = f"{primary.seeds} seeds" if planned is None else f"{primary.seeds} of {planned} seeds"
    if primary.answer == "undecided":
        return f"Not decided after {seeds}: go on."
    return f"Enough seeds: {seeds} decide, you may stop."


def answer_words(comparison: Comparison, primary: ComparisonResult, on_targets: str = "") -> str:
    """`on_targets`: of which the answer is, with a space before it."""
    words = measure_words(comparison.metric, comparison.test_set) + on_targets
    delta = points(comparison.delta)
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
    return f"{comparison.confidence * 100:g} % {INTERVALS[comparison.stopping]} {points(low)} to {points(high)}"


def learning_rate_words(checks: Sequence[LearningRateCheck], comparison: Comparison) -> Iterator[str]:
    """The mean over all targets and sizes, then those where the difference vanishes, one by one."""
    if not checks:
        return
    *single, overall = checks
    figures = _swap_words(overall, comparison)
    yield f"The arms chose different learning rates at {len(single)} of their targets and sizes; over all, {figures}"
    for check in single:
        if check.vanishes:
            choices = f"{comparison.a} {check.chosen_a:g}, {comparison.b} {check.chosen_b:g}"
            yield f"{check.target}, size {check.size} ({choices}): {_swap_words(check, comparison)}"


def _swap_words(check: LearningRateCheck, comparison: Comparison) -> str:
    own, swapped = points(check.own, signed=True), points(check.swapped, signed=True)
    margin = f"{comparison.a} minus {comparison.b} is {own} points"
    vanishes = " The difference vanishes." if check.vanishes else ""
    return f"on validation, {margin} with the own choices and {swapped} with each other's.{vanishes}"
