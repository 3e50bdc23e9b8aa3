"""The interval with a spread between seeds that is borrowed: what one cell's few seeds do not tell, the others' do.

A cell is an arm at a target. With two or three seeds its variance is hardly known, and an interval from it alone is
wide. But the cells of an experiment resemble each other, so their standard deviations are given a distribution:

    log sd of a target's cells ~ N(mu, tau_target^2),   log sd of a cell ~ N(that of its target, tau_cell^2)

with all three numbers unknown and integrated out over a grid. With some probability (TARGET_DISTINCT, CELL_DISTINCT) a
target or a cell has nothing to do with the others and is up to MOST_DISTINCT times as noisy: one noisy cell keeps its
own spread. A cell's sd is that between seeds alone, on top of the luck with test images, which is measured well; where
that luck explains what is seen, little is added. The difference given the variances is normal, so the interval is the
middle of a mixture of normals. docs/verdict.md has its coverage."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import digamma, ndtr, polygamma

from touchstone_verdict.intervals import SMALLEST_ERROR_IMAGES, Components, SeedSpread, SymmetricTails

Array = npt.NDArray[np.float64]

SMALLEST, LARGEST = 1e-3, 0.5
"""Standard deviation between seeds, in accuracy. 0.1 points are little beside any other part of the variance."""
GRID = np.geomspace(SMALLEST, LARGEST, 48)
RISE = 0.1
"""The prior density of mu, a logarithm, rises with exp(mu) to this power: a spread that is lost in the luck with test
images is not taken for none."""
TARGET_TAUS = {0.05: 1.0, 0.3: 1.0, 0.8: 0.5}
CELL_TAUS = {0.05: 1.0, 0.2: 1.0, 0.4: 0.8, 0.8: 0.3, 1.6: 0.15}
"""Standard deviation of log sd -> prior weight, up to a factor. The studies' 364 cells of three seeds give about 0.4
for zero-shot accuracy and 0.2 to 0.5 for probes."""
TARGET_DISTINCT, CELL_DISTINCT = 0.15, 0.08
MOST_DISTINCT = 30.0
DRAWS = 4000
SURE = 1e-4
"""Variance of the logarithm of a variance: of less nothing is made, which is 20,000 degrees of freedom."""


@dataclass(frozen=True)
class BorrowedEstimate(SymmetricTails):
    """A difference in accuracy and what its variance may be; answers the same questions as an Estimate."""

    difference: float
    variances: Array
    """(draws,), equally likely; empty where nothing is known."""
    parts: tuple[Components, ...] = ()
    """By target, with the variance between seeds as it is borrowed; empty where nothing is known."""

    @property
    def known(self) -> bool:
        return len(self.variances) > 0

    @property
    def degrees_of_freedom(self) -> float:
        """Of the t distribution whose variance is as uncertain; 0 where nothing is known."""
        if not self.known:
            return 0.0
        return 4 + 2 * float(self.variances.mean()) ** 2 / max(float(self.variances.var()), 1e-300)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided, cut at -1 and 1."""
        if not self.known:
            return -1.0, 1.0
        most = 10 * math.sqrt(float(self.variances.max()))
        half = float(brentq(lambda distance: 2 * self._upper_tail(distance) - (1 - confidence), 0.0, most))
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)

    def _upper_tail(self, distance: float) -> float:
        return float(ndtr(-distance / np.sqrt(self.variances)).mean()) if self.known else 1.0


Cell = tuple[str, str]
"""(target, arm)"""


def borrowed_estimate(
    parts: Mapping[str, tuple[Components, Sequence[str]]], shared: "SharedSpread", draws: int = DRAWS
) -> BorrowedEstimate:
    """The mean of differences that are independent but for their spreads. `parts`: target -> its components, with the
    arms of their spreads, in that order; all are cells of `shared`."""
    difference = sum(part.difference for part, _ in parts.values()) / len(parts)
    if shared.degrees < 2 or min(part.image_draws for part, _ in parts.values()) < 2:
        return BorrowedEstimate(difference, np.empty(0))
    # Always the same draws: equal measurements give equal verdicts.
    rng = np.random.default_rng(0)
    spreads = shared.drawn({(target, arm) for target, (_, arms) in parts.items() for arm in arms}, rng, draws)
    variance, seen = np.zeros(draws), []
    for target, (part, arms) in parts.items():
        seeds = [spread.seeds for spread in part.spreads]
        shares = [spreads[target, arm] / count for arm, count in zip(arms, seeds, strict=True)]
        by_seed = np.sum(shares, axis=0)
        by_image = part.by_image * (part.image_draws - 1) / rng.chisquare(part.image_draws - 1, draws)
        variance += np.maximum(by_seed + by_image, (SMALLEST_ERROR_IMAGES / part.images) ** 2)
        seen.append(_with_seed_part(part, by_seed))
    return BorrowedEstimate(difference, variance / len(parts) ** 2, tuple(seen))


def _with_seed_part(part: Components, by_seed: Array) -> Components:
    """`by_seed` (draws,): what seeds alone may add to the variance. It becomes a mean square, which contains the
    interaction, with the degrees of freedom after which the logarithm of a variance is known as well. (The logarithm,
    because the few draws in which a cell is unlike all others would decide over other moments.)"""
    logs = np.log(by_seed + part.interaction)
    uncertain = max(float(logs.var()), SURE)
    half = float(brentq(lambda half: polygamma(1, half) - uncertain, 0.05, 2 / SURE))
    return replace(part, by_seed=math.exp(float(logs.mean()) + float(digamma(half))) / half, seed_degrees=2 * half)


class SharedSpread:
    """What the spreads of all cells say of each. They are of one metric, one test set and the same sizes."""

    def __init__(self, cells: Mapping[Cell, SeedSpread]) -> None:
        self.cells = sorted(cells)
        self.degrees = sum(cell.seeds - 1 for cell in cells.values())
        self.targets = sorted({target for target, _ in cells})
        self.likelihood = _likelihood([cells[cell] for cell in self.cells])
        to_target, to_cell = self.kernels = _kernels(alone=len(self.targets) == 1)
        self.of_cell = np.maximum(np.einsum("kg,cmg->ckm", self.likelihood, to_cell), 1e-300)
        """(taus of cells, cells, sd of its target): the likelihood of what the cell shows."""
        of_targets = np.stack([self._of_target(target) for target in self.targets], axis=1)
        self.of_target = of_targets
        shown = np.maximum(np.einsum("ctm,dum->cdtu", of_targets, to_target), 1e-300)
        log_weight = np.log(shown).sum(axis=2) + _log_prior()
        weight = np.exp(log_weight - log_weight.max())
        self.weight = weight / weight.sum()
        """(taus of cells, taus of targets, mu): posterior."""

    def _of_target(self, target: str) -> Array:
        positions = [position for position, (name, _) in enumerate(self.cells) if name == target]
        logs = np.log(self.of_cell[:, positions]).sum(axis=1)
        # One factor for all taus: only ratios matter.
        likelihood: Array = np.exp(logs - logs.max())
        return likelihood

    def drawn(self, wanted: set[Cell], rng: np.random.Generator, draws: int = DRAWS) -> dict[Cell, Array]:
        """Variances between seeds (draws,) of the wanted cells, together."""
        to_target, to_cell = self.kernels
        flat = np.cumsum(self.weight.ravel())
        # Evenly through the distribution, in random order.
        points = rng.permutation((np.arange(draws) + rng.random(draws)) / draws) * flat[-1]
        tau_cell, tau_target, mu = np.unravel_index(np.searchsorted(flat, points), self.weight.shape)
        found: dict[Cell, Array] = {}
        for position, target in enumerate(self.targets):
            arms = [cell for cell in self.cells if cell[0] == target and cell in wanted]
            if arms:
                middle = _choose(to_target[tau_target, mu] * self.of_target[tau_cell, position], rng)
                for cell in arms:
                    likelihood = self.likelihood[self.cells.index(cell)]
                    found[cell] = GRID[_choose(to_cell[tau_cell, middle] * likelihood, rng)] ** 2
        return found


def _likelihood(cells: Sequence[SeedSpread]) -> Array:
    """(cells, sds): of the variance seen, chi-squared with one degree of freedom less than there are seeds."""
    degrees = np.array([cell.seeds - 1 for cell in cells])[:, None]
    square, noise = (np.array(values)[:, None] for values in zip(*((c.square, c.noise) for c in cells), strict=True))
    variance = GRID**2 + noise
    logs = -degrees / 2 * (np.log(variance) + square / variance)
    likelihood: Array = np.exp(logs - logs.max(axis=1, keepdims=True))
    return likelihood


@cache
def _kernels(*, alone: bool) -> tuple[Array, Array]:
    """How sds of targets lie around mu, and sds of cells around their target's: (taus, sds around, sds) each. A target
    that is `alone` is what mu is about."""
    of_cells = _around(tuple(CELL_TAUS), CELL_DISTINCT)
    if alone:
        return np.tile(np.eye(len(GRID)), (len(TARGET_TAUS), 1, 1)), of_cells
    return _around(tuple(TARGET_TAUS), TARGET_DISTINCT), of_cells


def _around(taus: tuple[float, ...], own: float) -> Array:
    logs = np.log(GRID)
    apart = logs - logs[:, None]
    distinct = ((apart > 0) & (apart <= math.log(MOST_DISTINCT))).astype(np.float64)
    distinct[-1, -1] = 1.0  # nothing lies above the largest
    distinct /= distinct.sum(axis=1, keepdims=True)
    normal = np.exp(-0.5 * (apart / np.array(taus)[:, None, None]) ** 2)
    around: Array = (1 - own) * normal / normal.sum(axis=2, keepdims=True) + own * distinct
    return around


@cache
def _log_prior() -> Array:
    """(taus of cells, taus of targets, mu)"""
    of_cells, of_targets = np.array(list(CELL_TAUS.values())), np.array(list(TARGET_TAUS.values()))
    logs: Array = np.log(of_cells[:, None, None] * of_targets[None, :, None]) + RISE * np.log(GRID)
    return logs


def _choose(weights: Array, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """One index per row (rows,), drawn by the weights of the row."""
    steps = np.cumsum(weights, axis=1)
    indices: npt.NDArray[np.intp] = (steps < rng.random(len(steps))[:, None] * steps[:, -1:]).sum(axis=1)
    return indices
