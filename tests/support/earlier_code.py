"""Our own code of an earlier commit as the peer of a benchmark: unpacked from the repository's history."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.duels import Elsewhere

ROOT = Path(__file__).resolve().parents[2]
BEFORE_STORED_PLANS = "a7d6d90"
"""The last commit that planned an experiment again whenever its results were asked for."""


def unpack(commit: str, paths: Iterable[str], folder: Path) -> Path:
    """`paths` of the repository at `commit`, below `folder`. Raises SystemExit where the history is not there."""
    packed = subprocess.run(["git", "archive", commit, *paths], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        why = packed.stderr.decode().strip()
        raise SystemExit(f"the peer is commit {commit} of this repository: fetch its history first ({why})")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def run_case(module: str, release: str, sources: Iterable[Path] = ()) -> Elsewhere[Any]:
    """`python -m module release`, with `sources` before the installed packages; it prints an Elsewhere as JSON."""
    paths = os.pathsep.join([*map(str, sources), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", module, release],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Elsewhere(**json.loads(done.stdout))
