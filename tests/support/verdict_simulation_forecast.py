"""Undecided experiments that go on, and how often what the forecast gave a chance came true."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from support.verdict_simulation import Right, World
from touchstone_contracts.experiment import Spread
from touchstone_verdict.answers import answer_of
from touchstone_verdict.borrowed import BorrowedEstimate, SharedSpread, borrowed_estimate
from touchstone_verdict.forecast import Levels, More, chance_of_deciding
from touchstone_verdict.intervals import Components, Estimate, components

DELTA, CONFIDENCE = 0.01, 0.95
LEVELS = Levels(0.05, 0.05)


DIFFERENCES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06)
SEED_SDS = (0.02, 0.05, 0.1)
"""Half a point, 1.3 and 2.6 points of an arm's accuracy."""
LOG_SD = 0.35
BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Continuation:
    """An experiment of `seeds` and `images`, and how much larger it becomes."""

    seeds: int
    images: int
    more: More
    growth: int
    spread: Spread = "own"
    targets: int = 1
    """The first one is compared; a borrowed spread is learned from all."""

    def forecasts(self, runs: int) -> npt.NDArray[np.float64]:
        """(undecided experiments, 4): true difference, seed effect, chance forecast, 1 where it was then decided.

        `runs`: experiments of each true difference and seed effect."""
        pairs = itertools.product(DIFFERENCES, SEED_SDS)
        return np.array([(gap, sd, *found) for gap, sd in pairs for found in self._undecided(gap, sd, runs)])

    def _undecided(self, difference: float, seed_sd: float, runs: int) -> Iterator[tuple[float, bool]]:
        rng = np.random.default_rng(0)
        for _ in range(runs):
            pairs = [world.experiment(rng) for world in self._worlds(difference, seed_sd, rng)]
            first = self._measured([(a[: self.seeds, : self.images], b[: self.seeds, : self.images]) for a, b in pairs])
            if answer_of(first.estimate, DELTA, CONFIDENCE) == "undecided":
                chance = chance_of_deciding([first.part], self.more, self.growth, DELTA, LEVELS, rng)
                yield chance, answer_of(self._measured(pairs).estimate, DELTA, CONFIDENCE) != "undecided"

    def _worlds(self, difference: float, seed_sd: float, rng: np.random.Generator) -> Iterator[World]:
        """Grown, one for each target; log sd varies by LOG_SD between them."""
        of_seeds, of_images = (self.growth, 1) if self.more == "seeds" else (1, self.growth)
        for _ in range(self.targets):
            sd = seed_sd * float(np.exp(LOG_SD * rng.standard_normal())) if self.targets > 1 else seed_sd
            yield World(self.seeds * of_seeds, self.images * of_images, sd, difference)

    def _measured(self, pairs: Sequence[tuple[Right, Right]]) -> "Measured":
        part, *others = (components(a, b) for a, b in pairs)
        if self.spread == "own":
            return Measured(part, part.estimate())
        cells = {
            (str(target), arm): cell
            for target, found in enumerate([part, *others])
            for arm, cell in zip("ab", found.spreads, strict=True)
        }
        estimate = borrowed_estimate({"0": (part, ("a", "b"))}, SharedSpread(cells))
        return Measured(estimate.parts[0], estimate)


@dataclass(frozen=True)
class Measured:
    part: Components
    """As the interval sees it."""
    estimate: Estimate | BorrowedEstimate


CONTINUATIONS = (
    Continuation(2, 1000, "seeds", 3),
    Continuation(3, 300, "seeds", 2),
    Continuation(3, 1000, "seeds", 2),
    Continuation(3, 1000, "seeds", 4),
    Continuation(5, 1000, "seeds", 2),
    Continuation(3, 300, "images", 4),
    Continuation(5, 300, "images", 8),
    Continuation(2, 1000, "seeds", 3, "borrowed", targets=4),
    Continuation(3, 300, "seeds", 2, "borrowed", targets=4),
    Continuation(3, 1000, "seeds", 4, "borrowed", targets=4),
    Continuation(3, 300, "images", 4, "borrowed", targets=4),
)


@dataclass(frozen=True)
class Bin:
    """Of the experiments whose forecast lies between two chances."""

    forecast: float
    """Mean."""
    came_true: float
    """Share."""
    experiments: int


FEWEST_IN_A_BIN = 25


def reliability(forecasts: npt.NDArray[np.float64]) -> list[Bin]:
    """In ascending order of chances; of `Continuation.forecasts`."""
    bins = np.digitize(forecasts[:, 2], BINS[1:-1])
    found = [forecasts[bins == number] for number in range(len(BINS) - 1)]
    return [
        Bin(float(rows[:, 2].mean()), float(rows[:, 3].mean()), len(rows))
        for rows in found
        if len(rows) >= FEWEST_IN_A_BIN
    ]


@cache
def _forecasts(continuation: Continuation, runs: int) -> npt.NDArray[np.float64]:
    """Both tables are of the same experiments."""
    return continuation.forecasts(runs)


def _shown(forecast: float, came_true: float) -> str:
    return f"{forecast:.2f} / {came_true:.2f}".replace("0.", ".")


def forecast_table(runs: int = 120) -> tuple[list[str], list[list[str]]]:
    rows = []
    for each in CONTINUATIONS:
        forecasts = _forecasts(each, runs)
        cells = [""] * (len(BINS) - 1)
        for found in reliability(forecasts):
            cells[int(np.digitize(found.forecast, BINS[1:-1]))] = _shown(found.forecast, found.came_true)
        larger = each.seeds if each.more == "seeds" else each.images
        rows.append([str(each.seeds), str(each.images), f"{larger * each.growth} {each.more}", each.spread, *cells])
    heads = [f"{low:.0%} to {high:.0%}".replace("%", " %") for low, high in itertools.pairwise(BINS)]
    return ["seeds", "test images", "grown to", "spread", *heads], rows


def difference_table(runs: int = 120) -> tuple[list[str], list[list[str]]]:
    """The same by what is true, which no forecast can know."""
    rows = []
    for each in CONTINUATIONS:
        forecasts = _forecasts(each, runs)
        by_truth = [forecasts[forecasts[:, 0] == gap] for gap in DIFFERENCES]
        larger = each.seeds if each.more == "seeds" else each.images
        cells = [
            _shown(found[:, 2].mean(), found[:, 3].mean()) if len(found) >= FEWEST_IN_A_BIN else ""
            for found in by_truth
        ]
        rows.append([str(each.seeds), str(each.images), f"{larger * each.growth} {each.more}", each.spread, *cells])
    return ["seeds", "test images", "grown to", "spread", *(f"{100 * gap:g} points" for gap in DIFFERENCES)], rows
