"""How much the seeds of an arm have in common: they draw their training images from one pool."""

from collections.abc import Iterator, Sequence

import numpy as np
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.steps import Drawing, JudgeExperiment
from touchstone_contracts.views import SeedOverlap
from touchstone_runtime.finished import FinishedSteps
from touchstone_verdict.results import Evaluations


def seed_overlap(
    request: JudgeExperiment, comparison: Comparison, evaluations: Evaluations, steps: FinishedSteps
) -> Iterator[SeedOverlap]:
    """Of both arms, at every target and size that they reached; of a mixture where the pools of its parts are known;
    of none where seeds have draws in common by the spec. Raises MissingObject when a pool was lost from the object
    store."""
    repeated = len(set(request.draw_seeds)) < len(request.draw_seeds)  # said by itself
    if request.drawing is None or repeated:
        return
    for target in request.targets:
        for arm in (comparison.a, comparison.b):
            for size in sorted({cell.size for cell in evaluations.reached(target, arm)} - {0}):
                parts = _parts(request, target, arm, size, steps)
                if parts is not None:
                    yield SeedOverlap(
                        target=target,
                        arm=arm,
                        size=size,
                        pool=sum(sum(pool) for pool, _ in parts),
                        shared=_shared(request.drawing, parts),
                    )


Part = tuple[Sequence[int], int]
"""Images of a pool by class, and how many a seed draws."""


def _parts(request: JudgeExperiment, target: str, arm: str, size: int, steps: FinishedSteps) -> list[Part] | None:
    """What a training set is drawn from; None where a pool is no part of what is judged."""
    assert request.drawing is not None
    mixture, pools = request.drawing.mixtures.get(arm), request.layout.curations
    names, quotas = (mixture.parts, mixture.mixing.quotas(size)) if mixture else ((arm,), (size,))
    if any((target, name) not in pools for name in names):
        return None
    kept = [steps.curated(pools[target, name]).kept_by_class for name in names]
    return [(pool, min(quota, sum(pool))) for pool, quota in zip(kept, quotas, strict=True)]


def _shared(drawing: Drawing, parts: Sequence[Part]) -> float:
    """Expected share of one seed's images that another seed draws too."""
    if drawing.ranking == "score":
        return 1.0
    drawn = sum(quota for _, quota in parts)
    return sum(images_in_common(pool, quota, drawing.balance) for pool, quota in parts) / max(1, drawn)


def images_in_common(pool: Sequence[int], quota: int, balance: str) -> float:
    """Images that two draws of `quota` from a pool have in common, on average: of n out of P, n^2 / P."""
    kept = np.array([count for count in pool if count > 0], dtype=np.float64)
    if balance == "uniform" or not len(kept):
        return quota**2 / max(1.0, float(kept.sum()))
    drawn = _level(kept, quota)
    return float((drawn**2 / kept).sum())


def _level(kept: np.ndarray, quota: int) -> np.ndarray:
    """Images by class where classes take turns until each is used up; the last round is shared out evenly."""
    ordered = np.sort(kept)
    before = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])
    levels = (quota - before) / np.arange(len(kept), 0, -1)
    fitting = levels <= ordered
    level = float(levels[np.argmax(fitting)]) if fitting.any() else float(ordered[-1])
    drawn: np.ndarray = np.minimum(kept, level)
    return drawn
