"""The power that is computed before an experiment runs, beside the one that simulated experiments have."""

import itertools
from functools import cache

import numpy as np
from support.verdict_simulation import World, answers
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.experiment import Spread as SpreadKind
from touchstone_contracts.power import Spread
from touchstone_verdict.borrowed import SharedSpread, borrowed_estimate
from touchstone_verdict.intervals import components
from touchstone_verdict.power import Design, Part, found, smallest_difference, spread_of

GAPS = (0.02, 0.03, 0.05, 0.10)
VARIANCES = 1000
"""Drawn for each borrowed interval."""


@cache
def expected_spread(seed_sd: float) -> Spread:
    """Of a world's arms, from experiments so large that little is left to chance: 40 seeds, 4,000 images."""
    measured = [spread_of(components(a, b)) for a, b in World(40, 4000, seed_sd, 0.03).experiments(8)]
    squares = np.mean([[value**2 for value in entry.model_dump().values()] for entry in measured], axis=0)
    return Spread(**dict(zip(Spread.model_fields, np.sqrt(squares), strict=True)))


def design(world: World, kind: SpreadKind) -> Design:
    """As `/estimate` sees an experiment in this world, whose spread it knows."""
    part = Part(expected_spread(world.seed_sd), world.images)
    return Design((part,), world.seeds, Comparison(a="a", b="b", spread=kind))


def simulated_power(world: World, kind: SpreadKind, runs: int) -> float:
    """The share of verdicts "a better"."""
    if kind == "own":
        return answers(world, runs).get("a_better", 0.0)
    return sum(_borrowed_low(*arms) > 0 for arms in world.experiments(runs)) / runs


def _borrowed_low(a: np.ndarray, b: np.ndarray) -> float:
    part = components(a, b)
    cells = {("target", "a"): part.spreads[0], ("target", "b"): part.spreads[1]}
    return borrowed_estimate({"target": (part, ("a", "b"))}, SharedSpread(cells), VARIANCES).interval(0.95)[0]


def expected_power_table(runs: int = 600) -> tuple[list[str], list[list[str]]]:
    """Headings and rows."""
    rows = []
    kinds: tuple[SpreadKind, ...] = ("own", "borrowed")
    for seeds, images, sd, kind in itertools.product((2, 3, 5), (300, 3000), (0.02, 0.1), kinds):
        worlds = [World(seeds, images, sd, gap) for gap in GAPS]
        smallest = smallest_difference(design(worlds[0], kind))
        shown = "" if smallest is None else f"{100 * smallest:.1f}"
        rows.append([str(seeds), str(images), f"{sd:g}", kind, *(_cell(world, kind, runs) for world in worlds), shown])
    headings = ["seeds", "test images", "seed effect", "spread", *(f"{100 * gap:g} points" for gap in GAPS)]
    return [*headings, "80 % at"], rows


def _cell(world: World, kind: SpreadKind, runs: int) -> str:
    shares = (found(design(world, kind), world.difference), simulated_power(world, kind, runs))
    return " / ".join(f"{share:.2f}".removeprefix("0") for share in shares)
