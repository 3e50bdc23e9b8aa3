"""The verdict on 50,000 test images against the code of the release before it was a library.

Each side runs in a process of its own, so that the largest memory it held can be told. The peer is our own earlier
code, taken from the repository's history in the same run; it resampled all test images at once."""

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from support.duels import Duel, Elsewhere
from support.earlier_code import BEFORE_STORED_PLANS, run_case, unpack

NAME = "judging"
FLOOR = 1
"""It was written for memory; it must not cost time."""

SOURCES = ("libs/contracts/src", "services/api/src")

Verdict = dict[str, Any]


def prepare() -> Duel[Elsewhere[Verdict], Elsewhere[Verdict]]:
    folder = tempfile.TemporaryDirectory(prefix="touchstone-judging-")
    unpack(BEFORE_STORED_PLANS, SOURCES, Path(folder.name))
    return Duel(
        ours=partial(run_case, "support.judging_case", "today"),
        # The folder lives as long as the duel that names it.
        peer=lambda: run_case("support.judging_case", "earlier", [Path(folder.name) / each for each in SOURCES]),
        quality=lambda ours, peer: says_the_same(ours.result, peer.result),
        repetitions=3,
    )


def says_the_same(ours: Verdict, peer: Verdict) -> bool:
    """To the last digit, but for exchange rates: their monotone fit comes from scipy now."""
    rates, theirs = ours.pop("exchange_rates"), peer.pop("exchange_rates")
    values = [(rate[name], other[name]) for rate, other in zip(rates, theirs, strict=True) for name in other]
    return ours == peer and all(nearly(*pair) for pair in values)


def nearly(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other
