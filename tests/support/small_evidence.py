"""What the judge looks at, in arrays small enough to know the truth."""

import numpy as np
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import sha256
from touchstone_verdict.curves import Curve
from touchstone_verdict.evidence import Evidence

DIGEST = sha256(b"rows")


def correct(accuracy: float, *, sizes: int = 2, seeds: int = 3, images: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((sizes, seeds, images)) < accuracy


def evidence(curves: dict[tuple[str, str, str], Curve], **changes: object) -> Evidence:
    fields: dict[str, object] = {
        "experiment": "exp_1",
        "comparison": Comparison(a="real", b="made"),
        "targets": ("flags",),
        "metrics": ("zero_shot",),
        "sizes": (10, 20),
        "arms": ("real", "made"),
        "baseline": None,
        "curves": curves,
        "results_digest": DIGEST,
    }
    return Evidence(**(fields | changes))  # type: ignore[arg-type]  # the test names the fields
