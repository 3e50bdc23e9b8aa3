"""Peak memory of every kind of worker: on as many images as the miniverse has, and on ten times as many.

Each worker's heaviest steps run in a fresh process against a real S3 server, one thread each, with every setting at its
default. What is looked at is the largest resident memory of the process (`VmHWM`), with its libraries, its models and
the files that it maps; a machine that is short of memory takes back what is mapped, and the peak is smaller. The figure
that counts is the largest ratio of any worker."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from support.duels import Entry, PeakMemory
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import LOOPBACK, S3_PORTS, free_ports, running, s3_server

NAME = "memory"
LIMIT = 1.5
"""How many times the memory a worker may take on ten times as many images."""
WORKERS = ("retrieval", "generator", "trainer", "judge")
TESTS = Path(__file__).parents[1]


def measure() -> Entry:
    found = {worker: [_run_on_store(worker, times) for times in (1, 10)] for worker in WORKERS}
    peaks = {worker: _compared(*sides) for worker, sides in found.items()}
    ratios = [peak["ratio"] for peak in peaks.values()]
    return Entry(
        name=NAME,
        ratio=max(ratios),
        spread=(min(ratios), max(ratios)),
        quality_ok=True,
        ours_cpu_s=sum(tenfold["cpu_s"] for _, tenfold in found.values()),
        peer_cpu_s=sum(once["cpu_s"] for once, _ in found.values()),
        workers=peaks,
    )


def _compared(once: Mapping[str, Any], tenfold: Mapping[str, Any]) -> PeakMemory:
    return PeakMemory(
        miniverse_mb=once["peak_mb"], tenfold_mb=tenfold["peak_mb"], ratio=tenfold["peak_mb"] / once["peak_mb"]
    )


def _run_on_store(worker: str, times: int) -> dict[str, Any]:
    """On a store of its own, which is thrown away."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, ports = Path(name), free_ports(S3_PORTS)
        settings = RuntimeSettings(
            s3_endpoint=f"{LOOPBACK}:{ports[0]}",
            s3_access_key=secrets.token_hex(8),
            s3_secret_key=SecretStr(secrets.token_hex(16)),
        )
        (folder / "s3").mkdir()
        (folder / "library").mkdir()
        with running(s3_server(folder / "s3", ports, settings)):
            _process("prepare", worker, times, folder / "library", settings)
            found: dict[str, Any] = json.loads(_process("run", worker, times, folder / "library", settings))
    steps = ", ".join(f"{step} {peak:.0f}" for step, peak in found["steps"].items())
    print(f"{NAME}: {worker}, {times}x: {found['peak_mb']:.0f} MB, {found['cpu_s']:.0f} CPU-s: {steps}", flush=True)
    return found


def _process(action: str, worker: str, times: int, folder: Path, settings: RuntimeSettings) -> str:
    store = {
        "TOUCHSTONE_S3_ENDPOINT": settings.s3_endpoint,
        "TOUCHSTONE_S3_ACCESS_KEY": settings.s3_access_key,
        "TOUCHSTONE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
    }
    done = subprocess.run(
        [sys.executable, "-m", "support.peak_memory", action, worker, str(times), str(folder)],
        cwd=TESTS,
        env=os.environ | store,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1] if action == "run" else ""
