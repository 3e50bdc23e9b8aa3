"""Requests at 10,000 finished experiments, against the release before plans kept their phase and counts.

Both sides answer over HTTP in a process of their own, on a SQLite file that is filled in the same way. The ratio is
that of the medians of listing fifty experiments."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.duels import Entry, RequestTimes
from support.earlier_code import BEFORE_STORED_PLANS, ROOT, unpack

NAME = "store"
FLOOR = 2
LIST_MILLISECONDS = 50
"""What the median of listing fifty may take."""
EXPERIMENTS = 10_000
PEER_PATHS = ("libs", "services", "tests/support")

Side = dict[str, Any]


def measure() -> Entry:
    with tempfile.TemporaryDirectory() as folder:
        ours = _run(ROOT, Path(folder) / "ours")
        peer = _run(unpack(BEFORE_STORED_PLANS, PEER_PATHS, Path(folder) / "release"), Path(folder) / "peer")
    requests = {name: _times(ours, peer, name) for name in ours["seconds"]}
    for name, times in requests.items():
        print(f"{NAME}: {name}: " + ", ".join(f"{what} {value:.1f} ms" for what, value in times.items()), flush=True)
    listing = requests["list"]
    ratio = listing["peer_p50_ms"] / listing["ours_p50_ms"]
    return Entry(
        name=NAME,
        ratio=ratio,
        spread=(ratio, ratio),
        quality_ok=ours["facts"] == peer["facts"] and listing["ours_p50_ms"] <= LIST_MILLISECONDS,
        ours_cpu_s=ours["cpu_seconds"],
        peer_cpu_s=peer["cpu_seconds"],
        requests=requests,
    )


def _run(root: Path, folder: Path) -> Side:
    """The timings of the code below `root`; its database is removed, because it takes more than a gigabyte."""
    sources = [*root.glob("libs/*/src"), *root.glob("services/*/src"), root / "tests"]
    program = ROOT / "tests/support/store_timings.py"
    with tempfile.TemporaryDirectory(dir=folder.parent) as database:
        done = subprocess.run(
            [sys.executable, "-P", str(program), database, str(EXPERIMENTS)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources))},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: Side = json.loads(done.stdout.splitlines()[-1])
    megabytes = found["bytes"] / 1e6
    print(f"{NAME}: {folder.name}: filled in {found['filled_seconds']:.0f} s, {megabytes:.0f} MB", flush=True)
    return found


def _times(ours: Side, peer: Side, name: str) -> RequestTimes:
    return RequestTimes(
        ours_p50_ms=_quantile(ours["seconds"][name], 0.5),
        ours_p99_ms=_quantile(ours["seconds"][name], 0.99),
        peer_p50_ms=_quantile(peer["seconds"][name], 0.5),
        peer_p99_ms=_quantile(peer["seconds"][name], 0.99),
    )


def _quantile(seconds: list[float], share: float) -> float:
    """In milliseconds; the largest where there are fewer than a hundred."""
    if share == 0.5:
        return 1000 * statistics.median(seconds)
    return 1000 * sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]
