"""Best first: the one order that near-duplicate removal and the cap share."""

import numpy as np


def best_first(scores: np.ndarray) -> np.ndarray:
    """Positions by falling score, equal scores in the order they came."""
    return np.argsort(-scores, kind="stable")
