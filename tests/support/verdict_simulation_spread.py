"""Experiments with several targets whose cells differ in how much seeds vary, and intervals that borrow that spread."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from support.verdict_simulation import ARM_BY_IMAGE, IMAGE, INTERACTION, LEVEL, Rows
from touchstone_verdict.answers import decide
from touchstone_verdict.borrowed import BorrowedEstimate, SharedSpread, borrowed_estimate
from touchstone_verdict.intervals import Components, Estimate, SeedSpread, components, seed_spread

ARMS = ("a", "b", "c", "d", "e", "f", "g", "h")


@dataclass(frozen=True)
class Laboratory:
    """Every arm at every target; a minus b is compared at the first one."""

    seeds: int
    images: int
    seed_sd: float
    """Of the seed effect in a typical cell, on the model's latent scale."""
    targets: int = 1
    arms: int = 2
    tau: float = 0.0
    """Standard deviation of its logarithm over cells."""
    difference: float = 0.0
    noisier: tuple[tuple[int, int, float], ...] = ()
    """(target, arm, factor) of the cells that do not resemble the others."""
    heavy_tails: bool = False
    """Seed effects have Student's t distribution with three degrees of freedom, not the normal."""

    def experiments(self, runs: int) -> Iterator["Measured"]:
        """Always the same ones."""
        rng = np.random.default_rng(
            [self.seeds, self.images, self.targets, self.arms, int(self.seed_sd * 1000), int(self.difference * 1000)]
        )
        for _ in range(runs):
            yield self._experiment(rng)

    def _experiment(self, rng: np.random.Generator) -> "Measured":
        sds = self.seed_sd * np.exp(self.tau * rng.standard_normal((self.targets, self.arms)))
        for target, arm, factor in self.noisier:
            sds[target, arm] *= factor
        parts = []
        cells: dict[tuple[str, str], SeedSpread] = {}
        for target in range(self.targets):
            image = IMAGE * rng.standard_normal(self.images, dtype=np.float32)
            right = [self._right(rng, image, sds[target, arm], arm) for arm in range(self.arms)]
            parts.append(components(right[0], right[1]))
            cells |= {(f"t{target}", ARMS[arm]): seed_spread(found) for arm, found in enumerate(right)}
        return Measured(tuple(parts), cells)

    def _right(
        self, rng: np.random.Generator, image: npt.NDArray[np.float32], sd: float, arm: int
    ) -> npt.NDArray[np.float64]:
        """(seeds, images)"""
        quiet = math.sqrt(1 + IMAGE**2 + ARM_BY_IMAGE**2 + INTERACTION**2)
        spread = math.hypot(quiet, sd)
        accuracy = ndtr(LEVEL / quiet) + (self.difference if arm == 0 else 0.0)
        effect = spread * float(ndtri(accuracy)) + sd * self._seed_effects(rng)[:, None] + image
        effect = effect + ARM_BY_IMAGE * rng.standard_normal(self.images, dtype=np.float32)
        noise = rng.standard_normal((self.seeds, self.images), dtype=np.float32)
        return (effect > math.sqrt(1 + INTERACTION**2) * noise).astype(np.float64)

    def _seed_effects(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        if self.heavy_tails:
            return rng.standard_t(3, self.seeds) / math.sqrt(3)
        return rng.standard_normal(self.seeds)


@dataclass(frozen=True)
class Measured:
    parts: tuple[Components, ...]
    """By target."""
    cells: dict[tuple[str, str], SeedSpread]

    def borrowed(self, targets: int = 1) -> BorrowedEstimate:
        """Over the first of them."""
        parts = {f"t{number}": (part, ("a", "b")) for number, part in enumerate(self.parts[:targets])}
        return borrowed_estimate(parts, SharedSpread(self.cells))

    def own(self, targets: int = 1) -> Estimate:
        return Estimate.pooled([part.estimate() for part in self.parts[:targets]])


@dataclass(frozen=True)
class Quality:
    """Of an interval."""

    covered: float
    """How often it contains the true difference."""
    width: float
    """Mean, relative to 1.96 true standard deviations, which nobody knows."""

    def __str__(self) -> str:
        return f"{share(self.covered)} × {self.width:.2f}"


def qualities(laboratory: Laboratory, runs: int, targets: int = 1) -> tuple[Quality, Quality]:
    """Of the own interval and of the borrowed one; half of the experiments with equal arms, half with 5 points between
    them."""
    found = [
        (true, measured.own(targets), measured.borrowed(targets))
        for true in (0.0, 0.05)
        for measured in replace(laboratory, difference=true).experiments(runs // 2)
    ]
    return quality([(true, own) for true, own, _ in found]), quality([(true, borrowed) for true, _, borrowed in found])


def quality(estimates: Sequence[tuple[float, Estimate | BorrowedEstimate]]) -> Quality:
    """`estimates`: with the true difference of each."""
    intervals = [(true, *estimate.interval(0.95)) for true, estimate in estimates]
    oracle = 1.96 * float(np.std([estimate.difference - true for true, estimate in estimates]))
    return Quality(
        covered=float(np.mean([low <= true <= high for true, low, high in intervals])),
        width=float(np.mean([(high - low) / 2 for _, low, high in intervals])) / oracle,
    )


@dataclass(frozen=True)
class FalseCalls:
    """Shares of experiments with equal arms in which an interval calls one of them better, over all targets."""

    own: float
    borrowed: float


def false_calls(laboratory: Laboratory, runs: int) -> FalseCalls:
    found = [
        [_calls(measured.own(laboratory.targets)), _calls(measured.borrowed(laboratory.targets))]
        for measured in laboratory.experiments(runs)
    ]
    return FalseCalls(*np.mean(found, axis=0).tolist())


def _calls(estimate: Estimate | BorrowedEstimate, delta: float = 0.01) -> bool:
    answer = decide(estimate.difference, estimate.p_value, estimate.equivalence_p_value(delta), 0.05)
    return answer in ("a_better", "b_better")


ORDINARY = {
    "2 seeds, 4 targets x 2 arms": Laboratory(2, 300, 0.1, targets=4, tau=0.35),
    "2 seeds, 4 targets x 2 arms, seeds matter much": Laboratory(2, 3000, 0.2, targets=4, tau=0.35),
    "2 seeds, 2 targets x 2 arms": Laboratory(2, 300, 0.1, targets=2, tau=0.35),
    "2 seeds, 2 targets x 2 arms, seeds matter much": Laboratory(2, 3000, 0.2, targets=2, tau=0.35),
    "2 seeds, 1 target x 4 arms": Laboratory(2, 300, 0.1, arms=4, tau=0.35),
    "2 seeds, 1 target x 2 arms": Laboratory(2, 300, 0.1),
    "2 seeds, 1 target x 2 arms, seeds matter much": Laboratory(2, 3000, 0.2),
    "3 seeds, 4 targets x 2 arms": Laboratory(3, 300, 0.1, targets=4, tau=0.35),
    "3 seeds, 4 targets x 2 arms, seeds hardly matter": Laboratory(3, 3000, 0.05, targets=4, tau=0.35),
    "3 seeds, 4 targets x 2 arms, seeds matter much": Laboratory(3, 3000, 0.2, targets=4, tau=0.35),
    "3 seeds, 2 targets x 2 arms": Laboratory(3, 300, 0.1, targets=2, tau=0.35),
    "3 seeds, 2 targets x 2 arms, seeds matter much": Laboratory(3, 3000, 0.2, targets=2, tau=0.35),
    "3 seeds, 1 target x 4 arms": Laboratory(3, 300, 0.1, arms=4, tau=0.35),
    "3 seeds, 1 target x 2 arms": Laboratory(3, 300, 0.1),
    "3 seeds, 1 target x 2 arms, 50 images": Laboratory(3, 50, 0.05),
    "3 seeds, 1 target x 2 arms, seeds matter much": Laboratory(3, 3000, 0.2),
    "5 seeds, 4 targets x 2 arms": Laboratory(5, 300, 0.1, targets=4, tau=0.35),
    "5 seeds, 1 target x 2 arms, seeds matter much": Laboratory(5, 3000, 0.2),
}
"""One comparison at one target; with several targets or more than two arms log sd varies by 0.35 over cells."""
UNLIKE = {
    "3 seeds, 4 targets: arm a 10 times noisier": Laboratory(
        3, 3000, 0.03, targets=4, noisier=tuple((target, 0, 10.0) for target in range(4))
    ),
    "3 seeds, 4 targets: a at this target 10 times noisier": Laboratory(
        3, 3000, 0.03, targets=4, noisier=((0, 0, 10.0),)
    ),
    "3 seeds, 7 targets: this one 4 times noisier": Laboratory(
        3, 3000, 0.05, targets=7, noisier=((0, 0, 4.0), (0, 1, 4.0))
    ),
    "2 seeds, 7 targets: this one 4 times noisier": Laboratory(
        2, 3000, 0.05, targets=7, noisier=((0, 0, 4.0), (0, 1, 4.0))
    ),
    "3 seeds, 4 targets: seed effects with heavy tails (t, 3 degrees)": Laboratory(
        3, 3000, 0.2, targets=4, heavy_tails=True
    ),
    "3 seeds, 4 targets, 40 cells, log sd varies by 0.7": Laboratory(3, 300, 0.1, targets=5, arms=8, tau=0.7),
}
EQUAL = tuple(
    Laboratory(seeds, images, seed_sd, targets=2, tau=0.35)
    for seeds, images, seed_sd in ((2, 300, 0.1), (3, 300, 0.1), (3, 1000, 0.2), (5, 300, 0.05))
)
HEADINGS = ["experiment", "test images", "seed effect", "own spread", "borrowed spread"]


def ordinary_table(runs: int = 1000) -> Rows:
    return HEADINGS, _rows(ORDINARY, runs)


def unlike_table(runs: int = 1000) -> Rows:
    return HEADINGS, _rows(UNLIKE, runs)


def _rows(laboratories: dict[str, Laboratory], runs: int) -> list[list[str]]:
    rows = []
    for name, laboratory in laboratories.items():
        own, borrowed = qualities(laboratory, runs)
        rows.append([name, str(laboratory.images), f"{laboratory.seed_sd:g}", str(own), str(borrowed)])
    return rows


def false_call_table(runs: int = 1000) -> Rows:
    found = [false_calls(laboratory, runs) for laboratory in EQUAL]
    rows = [
        [str(world.seeds), str(world.images), f"{world.seed_sd:g}", share(calls.own), share(calls.borrowed)]
        for world, calls in zip(EQUAL, found, strict=True)
    ]
    own, borrowed = (float(np.mean([getattr(calls, name) for calls in found])) for name in ("own", "borrowed"))
    rows.append(["all", "", "", share(own), share(borrowed)])
    return ["seeds", "test images", "seed effect", "own spread", "borrowed spread"], rows


def share(value: float) -> str:
    """0.9531 -> ".953" """
    return f"{value:.3f}".removeprefix("0")
