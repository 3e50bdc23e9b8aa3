"""Experiments judged at declared looks, and how often they are right, how often they decide and with how many seeds."""

from dataclasses import dataclass

import numpy as np
from support.verdict_simulation import Right, World, answers, look_after_every_seed
from touchstone_contracts.experiment import Spending, Spread
from touchstone_verdict.anytime import seed_sequence
from touchstone_verdict.borrowed import BorrowedEstimate, SharedSpread, borrowed_estimate
from touchstone_verdict.intervals import Estimate, components
from touchstone_verdict.spending import levels

LOOKS = (3, 5, 7, 10)
PLANS: dict[str, tuple[Spending, Spread]] = {
    "O'Brien-Fleming": ("obrien_fleming", "own"),
    "Pocock": ("pocock", "own"),
    "O'Brien-Fleming, borrowed": ("obrien_fleming", "borrowed"),
}


@dataclass(frozen=True)
class PlannedLooks:
    """Shares of experiments that end at the first look which decides."""

    missed: float
    """The true difference was outside the interval of some look."""
    different: float
    """Ended with one arm better."""
    equal: float
    """Ended with no difference larger than delta."""
    seeds: float
    """Mean number at the end, of all experiments."""


def look_as_planned(
    world: World,
    runs: int,
    looks: tuple[int, ...] = LOOKS,
    spending: Spending = "obrien_fleming",
    delta: float = 0.01,
    spread: Spread = "own",
) -> PlannedLooks:
    """At 95 % confidence; `world.seeds` is the last look."""
    different = levels(looks, 0.05, spending)
    equal = [level / 2 for level in levels(looks, 0.10, spending)]
    found = []
    for a, b in world.experiments(runs):
        estimates = [_estimate(a[:seeds], b[:seeds], spread) for seeds in looks]
        intervals = [estimate.interval(1 - level) for estimate, level in zip(estimates, different, strict=True)]
        missed = any(not low <= world.difference <= high for low, high in intervals)
        answers = [
            "different" if estimate.p_value <= level else "equal" if estimate.equivalence_p_value(delta) <= same else ""
            for estimate, level, same in zip(estimates, different, equal, strict=True)
        ]
        end = next((number for number, answer in enumerate(answers) if answer), len(looks) - 1)
        found.append((missed, answers[end] == "different", answers[end] == "equal", looks[end]))
    return PlannedLooks(*(float(value) for value in np.mean(found, axis=0)))


def _estimate(a: Right, b: Right, spread: Spread) -> Estimate | BorrowedEstimate:
    part = components(a, b)
    if spread == "own":
        return part.estimate()
    cells = dict(zip([("target", "a"), ("target", "b")], part.spreads, strict=True))
    return borrowed_estimate({"target": (part, ("a", "b"))}, SharedSpread(cells))


def width_of_anytime(world: World, seeds: int, runs: int) -> float:
    """How many times as wide as the interval for one look the anytime-valid one is, with so many of the seeds."""
    widths = []
    for a, b in world.experiments(runs):
        found = seed_sequence([a[:seeds] - b[:seeds]]), components(a[:seeds], b[:seeds]).estimate()
        widths.append([high - low for low, high in (known.interval(0.95) for known in found)])
    anytime, fixed = np.mean(widths, axis=0)
    return float(anytime / fixed)


# ------------------------------------------------------------------------------------------------ tables

Rows = tuple[list[str], list[list[str]]]
"""Headings and rows."""
WORLDS = [
    World(10, images, seed_sd, difference)
    for images, seed_sd, difference in (
        (1000, 0.02, 0.0),
        (1000, 0.02, 0.03),
        (1000, 0.1, 0.0),
        (1000, 0.1, 0.05),
        (300, 0.1, 0.0),
        (300, 0.1, 0.05),
        (10_000, 0.02, 0.0),
        (10_000, 0.02, 0.01),
        (10_000, 0.02, 0.02),
    )
]


def planned_table(runs: int = 600) -> Rows:
    rows = []
    for world in WORLDS:
        once = answers(world, runs)
        different = once.get("a_better", 0.0) + once.get("b_better", 0.0)
        at_looks = []
        for spending, spread in PLANS.values():
            plan = look_as_planned(world, runs, spending=spending, spread=spread)
            at_looks += [_share(plan.missed), _both(plan.different, plan.equal), f"{plan.seeds:.1f}"]
        at_once = _both(different, once.get("no_difference", 0.0))
        anytime = _share(look_after_every_seed(world, runs // 4).stopped)
        gap = f"{100 * world.difference:g}"
        rows.append([str(world.images), f"{world.seed_sd:g}", gap, *at_looks, at_once, anytime])
    headings = ["test images", "seed effect", "true difference"]
    for name in PLANS:
        headings += [f"{name}: missed", "different / equal", "seeds"]
    return [*headings, "once, at 10: different / equal", "anytime, by 10: different"], rows


def anytime_width_table(runs: int = 200) -> Rows:
    counts = (3, 5, 7, 10, 20)
    worlds = [World(20, images, sd) for images in (300, 3000) for sd in (0.02, 0.1)]
    rows = [
        [str(world.images), f"{world.seed_sd:g}", *(f"{width_of_anytime(world, count, runs):.1f}" for count in counts)]
        for world in worlds
    ]
    return ["test images", "seed effect", *(f"{count} seeds" for count in counts)], rows


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _both(different: float, equal: float) -> str:
    return f"{different:.2f} / {equal:.2f}".replace("0.", ".")
