"""Draws that the plain interval does not suppose: clustered test images, seeds that two arms share, failed runs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from support.verdict_simulation import ARM_BY_IMAGE, IMAGE, INTERACTION, LEVEL, Right, Rows
from touchstone_verdict.borrowed import BorrowedEstimate, SharedSpread, borrowed_estimate
from touchstone_verdict.failed_runs import Validation, find_failures
from touchstone_verdict.intervals import Estimate, components, seed_spread

LOST = 2.0
"""By a run that failed, on the latent scale: from .61 to about .19 in accuracy."""
QUIET = math.sqrt(1 + IMAGE**2 + ARM_BY_IMAGE**2 + INTERACTION**2)


@dataclass(frozen=True)
class Draws:
    """Two arms at one target, equal but for what is said here."""

    seeds: int
    images: int
    seed_sd: float
    cluster: int = 1
    """Test images that were drawn together; all that arms do differently by image, they do by cluster."""
    shared: float = 0.0
    """Correlation of the arms' seed effects."""
    failing: float = 0.0
    """Probability that a run of arm a fails, and loses LOST."""
    validation_images: int = 300

    @property
    def difference_with_failures(self) -> float:
        """True accuracy(a) - accuracy(b), failed runs included; without them there is none."""
        spread = math.hypot(QUIET, self.seed_sd)
        level = LEVEL * spread / QUIET
        return self.failing * float(ndtr((level - LOST) / spread) - ndtr(level / spread))

    @property
    def clusters(self) -> npt.NDArray[np.int32]:
        return (np.arange(self.images) // self.cluster).astype(np.int32)

    def experiments(self, runs: int) -> Iterator["Drawn"]:
        """Always the same ones."""
        rng = np.random.default_rng([self.seeds, self.images, int(self.seed_sd * 1000), self.cluster])
        for _ in range(runs):
            effects = self._seed_effects(rng)
            failed = rng.random(self.seeds) < self.failing
            effects[0] -= LOST * failed
            a, b = self._right(rng, effects, self.clusters)
            on_validation = self._right(rng, effects, np.arange(self.validation_images, dtype=np.int32))
            yield Drawn(a, b, on_validation, failed)

    def _seed_effects(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """(arms, seeds)"""
        common, own = rng.standard_normal(self.seeds), rng.standard_normal((2, self.seeds))
        return self.seed_sd * (math.sqrt(self.shared) * common + math.sqrt(1 - self.shared) * own)

    def _right(
        self, rng: np.random.Generator, effects: npt.NDArray[np.float64], clusters: npt.NDArray[np.int32]
    ) -> tuple[Right, Right]:
        images, groups = len(clusters), int(clusters.max()) + 1
        image = IMAGE * rng.standard_normal(groups)[clusters]
        arms = []
        for by_seed in effects:
            effect = math.hypot(QUIET, self.seed_sd) / QUIET * LEVEL + by_seed[:, None] + image
            effect = effect + ARM_BY_IMAGE * rng.standard_normal(groups)[clusters]
            noise = math.sqrt(1 + INTERACTION**2) * rng.standard_normal((self.seeds, images))
            arms.append((effect > noise).astype(np.float64))
        return arms[0], arms[1]


@dataclass(frozen=True)
class Drawn:
    a: Right
    b: Right
    on_validation: tuple[Right, Right]
    failed: npt.NDArray[np.bool_]
    """(seeds,) of a."""

    def without_failures(self) -> tuple[Right, Right, int, int]:
        """Both arms, and how many failed and how many sound runs were left out."""
        validation = {
            ("target", arm): Validation((1,), tuple(range(len(right))), right.mean(axis=1)[None])
            for arm, right in zip("ab", self.on_validation, strict=True)
        }
        failures = find_failures(validation, {"target": float(ndtr(LEVEL / QUIET)) - 0.05})
        lost = {arm: [failure.position for failure in failures if failure.arm == arm] for arm in "ab"}
        caught = int(self.failed[lost["a"]].sum())
        return (
            np.delete(self.a, lost["a"], axis=0),
            np.delete(self.b, lost["b"], axis=0),
            caught,
            len(failures) - caught,
        )


def borrowed(a: Right, b: Right) -> BorrowedEstimate:
    """From the two arms alone."""
    cells = {("target", "a"): seed_spread(a), ("target", "b"): seed_spread(b)}
    return borrowed_estimate({"target": (components(a, b), ("a", "b"))}, SharedSpread(cells))


def borrowed_in_pairs(a: Right, b: Right) -> BorrowedEstimate:
    cells = {("target", "a minus b"): seed_spread(a - b)}
    return borrowed_estimate({"target": (components(a, b, paired=True), ("a minus b",))}, SharedSpread(cells))


def shown(estimates: Sequence[Estimate | BorrowedEstimate], oracle: float, true: float = 0.0) -> str:
    """Coverage of the true difference, and width relative to the oracle."""
    intervals = [estimate.interval(0.95) for estimate in estimates]
    covered = np.mean([low <= true <= high for low, high in intervals])
    width = np.mean([(high - low) / 2 for low, high in intervals]) / oracle
    return f"{covered:.3f}".removeprefix("0") + f" × {width:.2f}"


def oracle_of(estimates: Sequence[Estimate]) -> float:
    return 1.96 * float(np.std([estimate.difference for estimate in estimates]))


CLUSTERED = (
    Draws(3, 240, 0.05, cluster=5),
    Draws(3, 3000, 0.05, cluster=10),
    Draws(5, 500, 0.02, cluster=10),
    Draws(10, 240, 0.02, cluster=8),
)


def cluster_estimates(draws: Draws, runs: int) -> tuple[list[Estimate], list[Estimate]]:
    """As if images had been drawn one by one, and by cluster."""
    pairs = [(drawn.a, drawn.b) for drawn in draws.experiments(runs)]
    singly = [components(a, b).estimate() for a, b in pairs]
    return singly, [components(a, b, draws.clusters).estimate() for a, b in pairs]


def cluster_table(runs: int = 1000) -> Rows:
    rows = []
    for draws in CLUSTERED:
        singly, clustered = cluster_estimates(draws, runs)
        oracle = oracle_of(singly)
        setting = [str(draws.seeds), str(draws.images), str(draws.cluster), f"{draws.seed_sd:g}"]
        rows.append([*setting, shown(singly, oracle), shown(clustered, oracle)])
    return ["seeds", "test images", "in clusters of", "seed effect", "image by image", "by cluster"], rows


SHARING = tuple(
    Draws(seeds, 1000, 0.2, shared=shared) for seeds, shared in ((3, 0.8), (5, 0.8), (10, 0.8), (3, 0.4), (3, 0.0))
)


def paired_table(runs: int = 1000) -> Rows:
    rows = []
    for draws in SHARING:
        pairs = [(drawn.a, drawn.b) for drawn in draws.experiments(runs)]
        apart = [components(a, b).estimate() for a, b in pairs]
        together = [components(a, b, paired=True).estimate() for a, b in pairs]
        lent, oracle = [borrowed_in_pairs(a, b) for a, b in pairs], oracle_of(apart)
        row = [str(draws.seeds), f"{draws.shared:g}"]
        rows.append([*row, shown(apart, oracle), shown(together, oracle), shown(lent, oracle)])
    return ["seeds", "correlation of the arms' seeds", "apart", "in pairs", "in pairs, borrowed"], rows


FAILING = tuple(Draws(seeds, 1000, 0.1, failing=0.1) for seeds in (2, 3, 5, 10))


def failure_table(runs: int = 1000) -> Rows:
    rows = []
    for draws in (*FAILING, Draws(3, 1000, 0.1), Draws(10, 1000, 0.1)):
        found = list(draws.experiments(runs))
        true = draws.difference_with_failures
        kept = [drawn.without_failures() for drawn in found]
        sound = Draws(draws.seeds, draws.images, draws.seed_sd)
        oracle = oracle_of([components(drawn.a, drawn.b).estimate() for drawn in sound.experiments(runs)])
        failed, caught, wrongly = (
            sum(int(drawn.failed.sum()) for drawn in found),
            sum(row[2] for row in kept),
            sum(row[3] for row in kept),
        )
        rows.append(
            [
                str(draws.seeds),
                f"{draws.failing:g}",
                shown([components(drawn.a, drawn.b).estimate() for drawn in found], oracle, true),
                shown([borrowed(drawn.a, drawn.b) for drawn in found], oracle, true),
                shown([components(a, b).estimate() for a, b, _, _ in kept], oracle),
                shown([borrowed(a, b) for a, b, _, _ in kept], oracle),
                f"{caught} of {failed}",
                f"{wrongly} of {2 * draws.seeds * runs - failed}",
            ]
        )
    headings = ["seeds", "runs of a that fail", "counted, own", "counted, borrowed", "left out, own"]
    return [*headings, "left out, borrowed", "failures found", "sound runs left out"], rows
