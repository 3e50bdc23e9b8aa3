"""Every arm against the untouched encoder: one that falls below it failed, whoever won."""

from collections.abc import Iterable, Sequence

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.views import BaselineCheck

from touchstone_verdict.curves import Curves, against_baseline
from touchstone_verdict.intervals import Estimate


def check_baseline(
    curves: Curves,
    targets: Sequence[str],
    metrics: Iterable[Metric],
    arms: Iterable[str],
    baseline: str,
    confidence: float,
) -> tuple[BaselineCheck, ...]:
    """One check per arm and metric, over the targets and sizes the arm reached; none where it reached nothing."""
    checks = [
        _check(curves, targets, metric, arm, baseline, confidence)
        for arm in arms
        if arm != baseline
        for metric in metrics
    ]
    return tuple(check for check in checks if check is not None)


def _check(
    curves: Curves, targets: Sequence[str], metric: Metric, arm: str, baseline: str, confidence: float
) -> BaselineCheck | None:
    parts = [against_baseline(curves, target, metric, arm, baseline) for target in targets]
    estimates = [part.estimate() for part in parts if part is not None]
    if not estimates:
        return None
    pooled = Estimate.pooled(estimates)
    low, high = pooled.interval(confidence)
    return BaselineCheck(arm=arm, metric=metric, difference=pooled.difference, low=low, high=high, below=high < 0)
