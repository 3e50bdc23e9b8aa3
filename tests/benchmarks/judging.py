"""The verdict on 50,000 test images against the code of the release before it was a library.

Each side runs in a process of its own, so that the largest memory it held can be told. The peer is our own earlier
code, taken from the repository's history in the same run; it resampled all test images at once."""

import json
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from support.duels import Duel, Elsewhere

NAME = "judging"
FLOOR = 1
"""It was written for memory; it must not cost time."""

ROOT = Path(__file__).parents[2]
EARLIER = "a7d6d90"
EARLIER_SOURCES = ("libs/contracts/src", "services/api/src")

Verdict = dict[str, Any]


def prepare() -> Duel[Elsewhere[Verdict], Elsewhere[Verdict]]:
    folder = tempfile.TemporaryDirectory(prefix="touchstone-judging-")
    archive = subprocess.run(["git", "archive", EARLIER, *EARLIER_SOURCES], cwd=ROOT, capture_output=True)
    if archive.returncode:
        why = archive.stderr.decode().strip()
        raise SystemExit(f"{NAME} needs commit {EARLIER} in the repository's history: {why}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder.name, filter="data")
    return Duel(
        ours=partial(judged, "today", ()),
        # The folder lives as long as the duel that names it.
        peer=lambda: judged("earlier", [f"{folder.name}/{source}" for source in EARLIER_SOURCES]),
        quality=lambda ours, peer: says_the_same(ours.result, peer.result),
        repetitions=3,
    )


def judged(release: str, sources: Iterable[str]) -> Elsewhere[Verdict]:
    paths = os.pathsep.join([*sources, str(ROOT / "tests")])
    answer = subprocess.run(
        [sys.executable, "-m", "support.judging_case", release],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return Elsewhere(**json.loads(answer.stdout))


def says_the_same(ours: Verdict, peer: Verdict) -> bool:
    """To the last digit, but for exchange rates: their monotone fit comes from scipy now."""
    rates, theirs = ours.pop("exchange_rates"), peer.pop("exchange_rates")
    values = [(rate[name], other[name]) for rate, other in zip(rates, theirs, strict=True) for name in other]
    return ours == peer and all(nearly(*pair) for pair in values)


def nearly(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other
