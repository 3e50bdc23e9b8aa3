"""What the rules share: one order, and one sense of "at least this similar"."""

import numpy as np

TOLERANCE = 1e-6
"""The cosine of a vector with itself comes out of fp32 up to this far below 1."""


def at_least(cosines: np.ndarray, threshold: float) -> np.ndarray:
    reached: np.ndarray = cosines >= threshold - TOLERANCE
    return reached


def best_first(scores: np.ndarray) -> np.ndarray:
    """Positions by falling score, equal scores in the order they came."""
    return np.argsort(-scores, kind="stable")
