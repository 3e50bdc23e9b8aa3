"""How much of the variance of accuracies comes from the pool, from the draw of the training set and from optimisation.

Analysis of variance of balanced random effects: mean squares of each source, the components that give them, and
intervals of modified large-sample form (Graybill and Wang 1980; Ting et al. 1990; Burdick and Graybill 1992). All is
conditional on the test images, which every run shares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, fdtri
from touchstone_contracts.experiment import ExperimentSpec, SeedSources
from touchstone_contracts.problems import Invalid
from touchstone_contracts.views import ResultRow

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Component:
    source: str
    variance: float
    """Unbiased, so that it may be negative where there is next to none."""
    low: float
    high: float
    """Interval, from 0 on."""
    degrees_of_freedom: int

    @property
    def deviation(self) -> float:
        """Standard deviation; 0 where the estimate is negative."""
        return math.sqrt(max(0.0, self.variance))


@dataclass(frozen=True)
class MeanSquare:
    value: float
    degrees: int


def nested_components(accuracies: Array, confidence: float = 0.95) -> tuple[Component, ...]:
    """`accuracies` (pools, draws, runs): draws of a training set from each pool, runs on each training set. Components
    of the pool, the draw and the run; without the first where there is one pool.

    A draw with the same seed from another pool is another draw, and optimisation with the same seed on another training
    set other noise, so each is nested in what comes before it. Raises ValueError for fewer than two draws or runs."""
    pools, draws, runs = accuracies.shape
    if min(draws, runs) < 2:
        raise ValueError(f"{draws} draws of {runs} runs: two of both are needed to tell them apart")
    of_draws = accuracies.mean(axis=2)
    of_pools = of_draws.mean(axis=1)
    run = MeanSquare(float(((accuracies - of_draws[..., None]) ** 2).sum()) / (pools * draws * (runs - 1)),
                     pools * draws * (runs - 1))  # fmt: skip
    draw = MeanSquare(runs * float(((of_draws - of_pools[:, None]) ** 2).sum()) / (pools * (draws - 1)),
                      pools * (draws - 1))  # fmt: skip
    found = [_difference("draw", draw, run, runs, confidence), _alone("optimisation", run, confidence)]
    if pools > 1:
        pool = MeanSquare(draws * runs * float(of_pools.var(ddof=1)), pools - 1)
        found.insert(0, _difference("pool", pool, draw, draws * runs, confidence))
    return tuple(found)


def crossed_components(accuracies: Array, confidence: float = 0.95) -> tuple[Component, ...]:
    """`accuracies` (draws, optimisations): every optimisation seed on every training set. Components of both and of
    their interaction, which a single run of each pair cannot tell from what no seed decides.

    Raises ValueError for fewer than two of either."""
    draws, optimisations = accuracies.shape
    if min(draws, optimisations) < 2:
        raise ValueError(f"{draws} draws x {optimisations} optimisation seeds: two of both are needed")
    by_draw, by_optimisation = accuracies.mean(axis=1), accuracies.mean(axis=0)
    residuals = accuracies - by_draw[:, None] - by_optimisation + accuracies.mean()
    degrees = (draws - 1) * (optimisations - 1)
    both = MeanSquare(float((residuals**2).sum()) / degrees, degrees)
    draw = MeanSquare(optimisations * float(by_draw.var(ddof=1)), draws - 1)
    optimisation = MeanSquare(draws * float(by_optimisation.var(ddof=1)), optimisations - 1)
    return (
        _difference("draw", draw, both, optimisations, confidence),
        _difference("optimisation", optimisation, both, draws, confidence),
        _alone("interaction", both, confidence),
    )


def _alone(source: str, square: MeanSquare, confidence: float) -> Component:
    """A mean square that is a component, with the exact interval."""
    tail, total = (1 - confidence) / 2, square.value * square.degrees
    low, high = total / float(chdtri(square.degrees, tail)), total / float(chdtri(square.degrees, 1 - tail))
    return Component(source, square.value, low, high, square.degrees)


def _difference(source: str, upper: MeanSquare, lower: MeanSquare, times: int, confidence: float) -> Component:
    """(upper - lower) / times."""
    tail = (1 - confidence) / 2
    n, m, x, y = upper.degrees, lower.degrees, upper.value, lower.value
    largest, smallest = float(fdtri(n, m, 1 - tail)), float(fdtri(n, m, tail))
    g_upper, g_lower = (1 - degrees / float(chdtri(degrees, tail)) for degrees in (n, m))
    h_upper, h_lower = (degrees / float(chdtri(degrees, 1 - tail)) - 1 for degrees in (n, m))
    g_both = ((largest - 1) ** 2 - (g_upper * largest) ** 2 - h_lower**2) / largest
    h_both = ((1 - smallest) ** 2 - (h_upper * smallest) ** 2 - g_lower**2) / smallest
    below = (g_upper * x) ** 2 + (h_lower * y) ** 2 + g_both * x * y
    above = (h_upper * x) ** 2 + (g_lower * y) ** 2 + h_both * x * y
    low, high = x - y - math.sqrt(max(0.0, below)), x - y + math.sqrt(max(0.0, above))
    return Component(source, (x - y) / times, max(0.0, low / times), max(0.0, high / times), n)


def nested_accuracies(
    rows: Sequence[ResultRow], spec: ExperimentSpec, arms: Sequence[str], target: str, metric: str, size: int,
    test_set: str,
) -> Array:  # fmt: skip
    """(pools, draws, runs) of an experiment whose `arms` are pools drawn anew, from its rows.

    Raises Invalid where a run is missing, the draws have unequally many, or there is one draw or one run of each."""
    by_draw: dict[int, list[SeedSources]] = {}
    for sources in spec.seed_sources:
        by_draw.setdefault(sources.draw, []).append(sources)
    counts = {len(runs) for runs in by_draw.values()}
    if len(counts) != 1:
        raise Invalid(
            f"the draws {', '.join(map(str, by_draw))} have unequally many seeds: give each the same number in "
            "draw_seeds",
            code="unbalanced",
        )
    if len(by_draw) < 2 or counts == {1}:
        raise Invalid(
            f"{len(by_draw)} draws with {max(counts)} seeds each: telling draw from optimisation takes two draws or "
            "more with two seeds or more each, as draw_seeds: [0, 0, 1, 1] gives seeds: [0, 1, 2, 3]",
            code="unbalanced",
        )
    found = {
        (row.arm, row.seed): row.value
        for row in rows
        if (row.target, row.metric, row.size, row.test_set) == (target, metric, size, test_set)
    }
    missing = [(arm, seed) for arm in arms for seed in spec.seeds if (arm, seed) not in found]
    if missing:
        arm, seed = missing[0]
        raise Invalid(
            f"{len(missing)} runs of size {size} at target {target!r} are not there, the first is of arm {arm!r} and "
            f"seed {seed}: wait for the experiment to end, or name arms and a size that it has",
            code="unbalanced",
        )
    return np.array([[[found[arm, run.seed] for run in runs] for runs in by_draw.values()] for arm in arms])
