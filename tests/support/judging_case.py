"""A large comparison, judged in a process of its own by today's code or by an earlier release's.

`python -m support.judging_case today` (or `earlier`, with that release's packages first on PYTHONPATH) prints one JSON
document: the verdict, the CPU seconds that judging took, and the largest memory that the process held."""

import json
import re
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import sha256

TEST_IMAGES, CLASSES, SEEDS = 50_000, 1000, 5
SIZES = (1000, 2000, 4000, 8000, 16_000, 32_000)
LEVELS = {"real": 0.50, "made": 0.48}
"""Accuracy at the smallest size; each doubling adds three points, each seed about one more or less."""


def main(release: str) -> None:
    evidence, judge = today() if release == "today" else earlier()
    before = time.process_time()
    verdict = judge(evidence)
    found = {
        "cpu_s": time.process_time() - before,
        "peak_mb": peak_mb(),
        "result": verdict.model_dump(mode="json"),
    }
    sys.stdout.write(json.dumps(found))


def peak_mb() -> float:
    """Not of getrusage: a new program keeps there what the process that started it held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def today() -> tuple[Any, Callable[[Any], Any]]:
    module = import_module("touchstone_verdict.judge")
    return evidence(module.Evidence, import_module("touchstone_verdict.curves").Curve), module.judge_evidence


def earlier() -> tuple[Any, Callable[[Any], Any]]:
    """Before the verdict was a library of its own."""
    module = import_module("touchstone_api.verdict.judge")
    return evidence(module.Evidence, import_module("touchstone_api.verdict.curves").Curve), module.judge


def evidence(evidence_type: Any, curve_type: Any) -> Any:
    hardness = np.random.default_rng(0).random(TEST_IMAGES)
    curves = {
        ("imagenet", "zero_shot", arm): curve_type(
            SIZES,
            np.stack([[correct(hardness, arm, position, seed) for seed in range(SEEDS)] for position in range(6)]),
        )
        for arm in LEVELS
    }
    return evidence_type(
        experiment="",
        comparison=Comparison(a="real", b="made"),
        targets=("imagenet",),
        metrics=("zero_shot",),
        sizes=SIZES,
        arms=tuple(LEVELS),
        baseline=None,
        curves=curves,
        results_digest=sha256(b"judging"),
        labels={"imagenet": (np.arange(TEST_IMAGES) % CLASSES).astype(np.int32)},
    )


def correct(hardness: np.ndarray, arm: str, position: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([len(arm), ord(arm[0]), position, seed])
    level = LEVELS[arm] + 0.03 * position + 0.01 * rng.standard_normal()
    right: np.ndarray = 0.7 * hardness + 0.3 * rng.random(TEST_IMAGES) < level
    return right


if __name__ == "__main__":
    main(sys.argv[1])
