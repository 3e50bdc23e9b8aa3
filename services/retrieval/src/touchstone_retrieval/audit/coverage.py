"""Density and coverage (Naeem et al. 2020, ICML): how many images lie among the target's own, and how many of those
have one near them.

Around each of the target's images lies a ball that reaches its k-th nearest other one, the border included."""

import numpy as np
import numpy.typing as npt

from touchstone_retrieval.audit.mmd import squared_distances


def density_and_coverage(target: np.ndarray, images: np.ndarray, neighbours: int) -> tuple[float, float]:
    """Of `images` (m, d) among `target` (n, d), n > neighbours. Density: in how many balls an image lies, divided by
    `neighbours`; about 1 for images of the target's distribution, and it may be larger. Coverage: the share of balls
    with an image in them."""
    within = squared_distances(target, target)
    np.fill_diagonal(within, -1)  # an image is not its own neighbour
    reach = np.partition(within, neighbours, axis=1)[:, neighbours]
    inside: npt.NDArray[np.bool_] = squared_distances(target, images) <= reach[:, None]
    return float(inside.sum() / (neighbours * len(images))), float(inside.any(axis=1).mean())


def expected_coverage(target: int, images: int, neighbours: int) -> float:
    """Of images of the target's own distribution, by their numbers (lemma 2 of the paper)."""
    missed = 1.0
    for rank in range(1, neighbours + 1):
        missed *= (target - rank) / (target + images - rank)
    return 1 - missed
