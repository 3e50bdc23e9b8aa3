"""Every arm against the untouched encoder: over all, and at each target and size."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.views import BaselineCheck

from touchstone_verdict.answers import holm
from touchstone_verdict.curves import Curves, against_baseline
from touchstone_verdict.intervals import Estimate


def check_over_all(
    curves: Curves, targets: Sequence[str], metric: Metric, arm: str, baseline: str, confidence: float
) -> BaselineCheck | None:
    """Over the targets and sizes that the arm reached; None where it reached nothing."""
    parts = [against_baseline(curves, target, metric, arm, baseline) for target in targets]
    estimates = [part.estimate() for part in parts if part is not None]
    if not estimates:
        return None
    pooled = Estimate.pooled(estimates)
    low, high = pooled.interval(confidence)
    return BaselineCheck(
        arm=arm, metric=metric, difference=pooled.difference, low=low, high=high, below=high < 0, above=low > 0
    )


def checks_by_size(
    curves: Curves,
    targets: Sequence[str],
    sizes: Sequence[int],
    metric: Metric,
    arms: Sequence[str],
    baseline: str,
    comparison: Comparison,
) -> Iterator[BaselineCheck]:
    """Every arm at each target and size that it reached; above or below by p-values adjusted over all of them."""
    cells = [(arm, target, size) for arm in arms for target in targets for size in sizes]
    parts = [against_baseline(curves, target, metric, arm, baseline, size) for arm, target, size in cells]
    found = [(cell, part.estimate()) for cell, part in zip(cells, parts, strict=True) if part is not None]
    adjusted = holm([estimate.p_value for _, estimate in found])
    for ((arm, target, size), estimate), p_value in zip(found, adjusted, strict=True):
        low, high = estimate.interval(comparison.confidence)
        differs = p_value <= 1 - comparison.confidence
        yield BaselineCheck(
            arm=arm,
            metric=metric,
            target=target,
            size=size,
            difference=estimate.difference,
            low=low,
            high=high,
            below=differs and estimate.difference < 0,
            above=differs and estimate.difference > 0,
            adjusted_p_value=p_value,
        )
