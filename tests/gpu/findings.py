"""What a check says: a comparison that held or did not, or a figure that was measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from touchstone_contracts.identity import sha256

CPU = torch.device("cpu")

Figure = float | int | str


@dataclass(frozen=True)
class Setting:
    """Where a check runs and how large its work is."""

    device: torch.device
    folder: Path
    """For models that are written and loaded again as a worker loads them."""
    small: bool = False
    """Sizes for a CPU, which show that the check works and measure nothing."""


@dataclass(frozen=True)
class Finding:
    what: str
    passed: bool | None
    """None: measured, with nothing to hold it to."""
    figures: Mapping[str, Figure] = field(default_factory=dict)


def relative_error(result: np.ndarray | torch.Tensor, reference: np.ndarray | torch.Tensor) -> float:
    """||result - reference|| / ||reference|| in float64; infinite where the shapes differ or a value is not finite."""
    found, wanted = _doubles(result), _doubles(reference)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return math.inf
    length = float(np.linalg.norm(wanted))
    apart = float(np.linalg.norm(found - wanted))
    return apart / length if length else (math.inf if apart else 0.0)


def _doubles(values: np.ndarray | torch.Tensor) -> np.ndarray:
    return np.asarray(values.detach().cpu().double() if isinstance(values, torch.Tensor) else values, dtype=np.float64)


def close(
    what: str, result: np.ndarray | torch.Tensor, reference: np.ndarray | torch.Tensor, tolerance: float
) -> Finding:
    """Passes when the relative error is at most `tolerance`."""
    error = relative_error(result, reference)
    return Finding(what, error <= tolerance, {"error": error, "tolerance": tolerance})


def close_pixels(what: str, result: np.ndarray, reference: np.ndarray, tolerance: float) -> Finding:
    """uint8 images. Passes when the mean absolute difference is at most `tolerance` levels of 255."""
    same_shape = result.shape == reference.shape
    apart = float(np.abs(result.astype(int) - reference.astype(int)).mean()) if same_shape else math.inf
    return Finding(what, apart <= tolerance, {"levels_apart": apart, "tolerance": tolerance})


def same_bytes(what: str, results: Sequence[np.ndarray | bytes]) -> Finding:
    """Passes when there are at least two results and all have one digest."""
    digests = {digest(result) for result in results}
    compared = len(results)
    return Finding(what, compared > 1 and len(digests) == 1, {"compared": compared, "digests": len(digests)})


def digest(result: np.ndarray | bytes) -> str:
    """Of shape, type and values."""
    if isinstance(result, bytes):
        return sha256(result)
    return sha256(f"{result.dtype} {result.shape} ".encode() + np.ascontiguousarray(result).tobytes())
