"""The power that is computed before an experiment runs, beside the one that simulated experiments have.

`PYTHONPATH=tests .venv/bin/python -m support.verdict_simulation_power` prints its table of docs/verdict.md."""

import itertools
from functools import cache

import numpy as np
from support.verdict_simulation import World, answers
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.power import Spread
from touchstone_verdict.intervals import components
from touchstone_verdict.power import Design, Part, found, smallest_difference, spread_of

GAPS = (0.02, 0.03, 0.05, 0.10)


@cache
def expected_spread(seed_sd: float) -> Spread:
    """Of a world's arms, from experiments so large that little is left to chance: 40 seeds, 4,000 images."""
    measured = [spread_of(components(a, b)) for a, b in World(40, 4000, seed_sd, 0.03).experiments(8)]
    squares = np.mean([[value**2 for value in entry.model_dump().values()] for entry in measured], axis=0)
    return Spread(**dict(zip(Spread.model_fields, np.sqrt(squares), strict=True)))


def design(world: World) -> Design:
    """As `/estimate` sees an experiment in this world, whose spread it knows."""
    part = Part(expected_spread(world.seed_sd), world.images)
    return Design((part,), world.seeds, Comparison(a="a", b="b"))


def expected_power_table(runs: int = 1000) -> tuple[list[str], list[list[str]]]:
    """Headings and rows."""
    rows = []
    for seeds, images, sd in itertools.product((2, 3, 5, 10), (300, 3000), (0.02, 0.1)):
        worlds = [World(seeds, images, sd, gap) for gap in GAPS]
        smallest = smallest_difference(design(worlds[0]))
        shown = "" if smallest is None else f"{100 * smallest:.1f}"
        rows.append([str(seeds), str(images), f"{sd:g}", *(_cell(world, runs) for world in worlds), shown])
    headings = ["seeds", "test images", "seed effect", *(f"{100 * gap:g} points" for gap in GAPS)]
    return [*headings, "80 % at"], rows


def _cell(world: World, runs: int) -> str:
    shares = (found(design(world), world.difference), answers(world, runs).get("a_better", 0.0))
    return " / ".join(f"{share:.2f}".removeprefix("0") for share in shares)


if __name__ == "__main__":
    headings, rows = expected_power_table()
    for row in (headings, ["---"] * len(headings), *rows):
        print(f"| {' | '.join(row)} |")
