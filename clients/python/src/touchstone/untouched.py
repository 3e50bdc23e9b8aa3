"""Every arm against the untouched encoder, as the rows of a table; and what is said of targets like those measured."""

from collections.abc import Iterator

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.views import BaselineCheck, TargetSample, Verdict


def untouched_title(verdict: Verdict) -> str:
    primary = verdict.primary
    measured = on_test_set(METRICS[primary.metric].words, primary.test_set)
    return (
        f"Against the untouched encoder, points of {measured} ({100 * verdict.confidence:.0f} % interval; "
        "*: differs, by size after Holm)"
    )


def untouched_headings(verdict: Verdict) -> tuple[str, ...]:
    return ("target", "arm", *(f"{size}" for size in _sizes(verdict)), "mean")


def untouched_rows(verdict: Verdict) -> Iterator[tuple[str, ...]]:
    """In the metric of the comparison: targets and arms down, sizes across; the means are over targets and sizes."""
    metric, sizes = verdict.primary.metric, _sizes(verdict)
    for check in verdict.baseline:
        if check.metric == metric:
            yield ("all", check.arm, *("" for _ in sizes), _cell(check))
    cells = {
        (check.target, check.arm, check.size): check for check in verdict.baseline_by_size if check.metric == metric
    }
    for target, arm in dict.fromkeys((target, arm) for target, arm, _ in cells):
        reached = (cells.get((target, arm, size)) for size in sizes)
        yield (str(target), arm, *(_cell(check) if check else "" for check in reached), "")


def sample_sentence(sample: TargetSample) -> str:
    return (
        f"Over targets like these {sample.targets}: mean {_points(sample.mean)} points ({_points(sample.low)} to "
        f"{_points(sample.high)}); at a new target {_points(sample.new_low)} to {_points(sample.new_high)}."
    )


def _sizes(verdict: Verdict) -> list[int]:
    return sorted({check.size for check in verdict.baseline_by_size if check.size is not None})


def _cell(check: BaselineCheck) -> str:
    mark = " *" if check.above or check.below else ""
    return f"{_points(check.difference)} ({_points(check.low)} to {_points(check.high)}){mark}"


def _points(accuracy: float) -> str:
    return f"{100 * accuracy:+.1f}"
