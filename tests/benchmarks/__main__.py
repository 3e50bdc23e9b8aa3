"""`make bench`: every benchmark of this folder, or those named, into .touchstone/bench.json."""

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from support.duels import Duel, Entry, repeat, summarise

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parents[1] / ".touchstone" / "bench.json"


def main(names: list[str]) -> None:
    # The Makefile gives every numerical library one thread before it loads; torch is told here as well.
    torch.set_num_threads(1)
    entries = [_run(module) for module in find_benchmarks() if not names or module.NAME in names]
    _write(entries)
    print(f"{len(entries)} benchmarks written to {RESULTS}")


def find_benchmarks() -> list[ModuleType]:
    """The modules of this folder: each has NAME, FLOOR (or LIMIT, where less is better) and prepare(), or measure()
    where it looks at other processes."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(FOLDER)]) if module.name != "__main__")
    return [importlib.import_module(f"benchmarks.{name}") for name in names]


def _run(benchmark: ModuleType) -> Entry:
    name = benchmark.NAME
    print(f"{name}: preparing", flush=True)
    entry = benchmark.measure() if hasattr(benchmark, "measure") else _duel(name, benchmark.prepare())
    low, high = entry["spread"]
    promise, quality = _promise(benchmark, entry["ratio"]), _word(entry["quality_ok"])
    print(f"{name}: {entry['ratio']:.2f}x ({low:.2f}-{high:.2f}), {promise}, quality {quality}\n")
    return entry


def _promise(benchmark: ModuleType, ratio: float) -> str:
    if hasattr(benchmark, "LIMIT"):
        return f"limit {benchmark.LIMIT:g}x {_word(ratio <= benchmark.LIMIT)}"
    return f"floor {benchmark.FLOOR:g}x {_word(ratio >= benchmark.FLOOR)}"


def _duel(name: str, duel: Duel[Any, Any]) -> Entry:
    repetitions = []
    for number, repetition in enumerate(repeat(duel), start=1):
        repetitions.append(repetition)
        print(
            f"{name}: {number}/{duel.repetitions}: ours {repetition.ours_cpu_s:.3f} s, peer "
            f"{repetition.peer_cpu_s:.3f} s, {repetition.ratio:.1f}x, quality {_word(repetition.quality_ok)}",
            flush=True,
        )
    entry = summarise(name, repetitions)
    if "ours_peak_mb" in entry:
        print(f"{name}: peak memory ours {entry['ours_peak_mb']:.0f} MB, peer {entry['peer_peak_mb']:.0f} MB")
    return entry


def _word(met: bool) -> str:
    return "met" if met else "NOT MET"


def _write(entries: list[Entry]) -> None:
    """Keeps the entries of benchmarks that did not run this time."""
    known = json.loads(RESULTS.read_text())["benchmarks"] if RESULTS.exists() else []
    by_name = {entry["name"]: entry for entry in [*known, *entries]}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"benchmarks": [by_name[name] for name in sorted(by_name)]}, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
