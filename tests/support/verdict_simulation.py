"""Arms with a known true difference, and how often verdicts about them are right.

`PYTHONPATH=tests python -m support.verdict_simulation` writes the tables of docs/verdict.md (see verdict_tables.py)."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from touchstone_verdict.answers import answer_of
from touchstone_verdict.anytime import seed_sequence
from touchstone_verdict.intervals import Estimate, components

Right = npt.NDArray[np.float64]
"""(seeds, images)"""

IMAGE, ARM_BY_IMAGE, INTERACTION = 1.0, 0.3, 0.3
"""Standard deviations of the probit model's effects, except the seed's, which varies."""
LEVEL = 0.4
AT_ONCE = 2_000_000
"""Numbers drawn at once; keeps memory small."""


@dataclass(frozen=True)
class World:
    """Two arms, b at LEVEL; `difference` is the true accuracy(a) - accuracy(b)."""

    seeds: int
    images: int
    seed_sd: float
    difference: float = 0.0
    paired: bool = False
    """Whether a seed moves both arms alike, as where they draw the same images."""

    @property
    def spread(self) -> float:
        """Of everything random in whether an image is classified correctly; a probit integrates in closed form."""
        return math.sqrt(1 + IMAGE**2 + ARM_BY_IMAGE**2 + INTERACTION**2 + self.seed_sd**2)

    @property
    def level_of_a(self) -> float:
        return self.spread * float(ndtri(ndtr(LEVEL / self.spread) + self.difference))

    def experiments(self, runs: int) -> Iterator[tuple[Right, Right]]:
        """Always the same ones."""
        rng = np.random.default_rng([self.seeds, self.images, int(self.seed_sd * 1000), int(self.difference * 1000)])
        chunk = max(1, AT_ONCE // (self.seeds * self.images))
        for first in range(0, runs, chunk):
            yield from self._drawn(rng, min(chunk, runs - first))

    def experiment(self, rng: np.random.Generator) -> tuple[Right, Right]:
        """A single one, drawn from `rng`."""
        return next(self._drawn(rng, 1))

    def _drawn(self, rng: np.random.Generator, count: int) -> Iterator[tuple[Right, Right]]:
        image = IMAGE * rng.standard_normal((count, 1, self.images), dtype=np.float32)
        shared = self._seed_effects(rng, count) if self.paired else None
        arms = [self._draw(rng, level, image, shared) for level in (self.level_of_a, LEVEL)]
        yield from zip(*arms, strict=True)

    def _seed_effects(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
        return np.float32(self.seed_sd) * rng.standard_normal((count, self.seeds, 1), dtype=np.float32)

    def _draw(
        self,
        rng: np.random.Generator,
        level: float,
        image: npt.NDArray[np.float32],
        shared: npt.NDArray[np.float32] | None,
    ) -> Right:
        """Correct wherever a normal effect exceeds a normal noise of variance 1."""
        count, _, images = image.shape
        effect = level + image + ARM_BY_IMAGE * rng.standard_normal((count, 1, images), dtype=np.float32)
        effect = effect + (self._seed_effects(rng, count) if shared is None else shared)
        noise = rng.standard_normal((count, self.seeds, images), dtype=np.float32)
        return (effect > math.sqrt(1 + INTERACTION**2) * noise).astype(np.float64)


def estimates(world: World, runs: int) -> Iterator[Estimate]:
    return (components(a, b).estimate() for a, b in world.experiments(runs))


def coverage(world: World, runs: int, confidence: float = 0.95) -> float:
    """The share of intervals that contain the true difference."""
    intervals = (estimate.interval(confidence) for estimate in estimates(world, runs))
    return sum(low <= world.difference <= high for low, high in intervals) / runs


def answers(world: World, runs: int, delta: float = 0.01, confidence: float = 0.95) -> dict[str, float]:
    """answer -> share."""
    counts = Counter(answer_of(estimate, delta, confidence) for estimate in estimates(world, runs))
    return {answer: count / runs for answer, count in counts.items()}


@dataclass(frozen=True)
class Looks:
    """Of experiments that are looked at after every seed, from the second on."""

    missed: float
    """Share in which the true difference was ever outside the interval."""
    stopped: float
    """Share in which zero was ever outside."""
    seeds_at_stop: float
    """Mean, of those that stopped."""


def look_after_every_seed(world: World, runs: int, confidence: float = 0.95, *, anytime: bool = True) -> Looks:
    """`anytime`: with the confidence sequence; else, as one must not, with the fixed-sample interval."""
    missed, stops = 0, []
    for a, b in world.experiments(runs):
        found = [_interval(a[:seeds], b[:seeds], confidence, anytime) for seeds in range(2, world.seeds + 1)]
        missed += any(not low <= world.difference <= high for low, high in found)
        stops += next(([look + 2] for look, (low, high) in enumerate(found) if low > 0 or high < 0), [])
    return Looks(missed / runs, len(stops) / runs, float(np.mean(stops)) if stops else math.nan)


def _interval(a: Right, b: Right, confidence: float, anytime: bool) -> tuple[float, float]:
    known = seed_sequence([a - b]) if anytime else components(a, b).estimate()
    return known.interval(confidence)


def noise(share: float, runs: int) -> float:
    """Two standard errors of a simulated share."""
    return 2 * math.sqrt(share * (1 - share) / runs)


Rows = tuple[list[str], list[list[str]]]
"""Headings and rows of a table."""


def coverage_table(runs: int = 1000) -> Rows:
    counts = [(2, 300), (3, 100), (3, 300), (3, 1000), (5, 300), (10, 300)]
    spreads = (0.0, 0.1, 0.4)
    rows = []
    for seeds, images in counts:
        cells = [[World(seeds, images, sd, gap) for gap in (0.0, 0.06)] for sd in spreads]
        shown = [" / ".join(f"{coverage(world, runs):.3f}".lstrip("0") for world in cell) for cell in cells]
        rows.append([str(seeds), str(images), *shown])
    return ["seeds", "test images", *(f"seed effect {sd:g}" for sd in spreads)], rows


def power_table(runs: int = 300) -> Rows:
    """A seed effect of 0.1 moves an arm's accuracy by 2.6 points (one standard deviation)."""
    gaps = (0.0, 0.02, 0.03, 0.05, 0.10)
    rows = []
    for seeds, images, sd in itertools.product((3, 5, 10), (300, 3000), (0.02, 0.1)):
        worlds = [World(seeds, images, sd, gap) for gap in gaps]
        found = [answers(world, runs).get("a_better", 0.0) for world in worlds]
        rows.append([str(seeds), str(images), f"{sd:g}", *(f"{share:.2f}".lstrip("0") or "0" for share in found)])
    return ["seeds", "test images", "seed effect", *(f"{100 * gap:g} points" for gap in gaps)], rows


def looks_table(runs: int = 300) -> Rows:
    rows = []
    for images, sd, gap in itertools.product((1000,), (0.02, 0.1), (0.0, 0.05, 0.10)):
        world = World(20, images, sd, gap)
        valid, naive = (look_after_every_seed(world, runs, anytime=anytime) for anytime in (True, False))
        seeds = "" if math.isnan(valid.seeds_at_stop) else f"{valid.seeds_at_stop:.1f}"
        shares = [f"{share:.3f}".lstrip("0") for share in (valid.missed, naive.missed, valid.stopped)]
        rows.append([str(images), f"{sd:g}", f"{100 * gap:g}", *shares, seeds])
    headings = ["test images", "seed effect", "true difference", "missed, anytime", "missed, fixed interval"]
    return [*headings, "stopped by 20 seeds", "seeds at the stop"], rows


if __name__ == "__main__":
    import sys

    from support.verdict_tables import main

    main(sys.argv[1:])
