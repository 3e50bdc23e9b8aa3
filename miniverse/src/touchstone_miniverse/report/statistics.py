"""Distances between sets of pictures, in an encoder's features: how alike, how varied, how close to copies."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

Features = NDArray[np.float64]
"""(pictures, width), each row normalised."""

Drawings = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Which drawing each of n and each of m pictures shows: a picture is not compared with its own."""

FRECHET_DRAWS = 5


def frechet_distance(first: Features, second: Features) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets (Heusel et al. 2017, eq. 6)."""
    shift = first.mean(0) - second.mean(0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    return float(shift @ shift + np.trace(one + two - 2 * sqrtm(one @ two).real))


def frechet_against_floor(synthetic: Features, real: Features, rng: np.random.Generator) -> dict[str, float]:
    """Synthetic against real, and real against real, with sets of one size: small samples inflate both alike.

    The size is half of the real pictures, or all synthetic ones where they are fewer; means over five draws.
    """
    size = min(len(real) // 2, len(synthetic))
    found: dict[str, list[float]] = {"synthetic": [], "real_floor": []}
    for _ in range(FRECHET_DRAWS):
        order = rng.permutation(len(real))
        half, other = real[order[:size]], real[order[size : 2 * size]]
        found["synthetic"].append(frechet_distance(synthetic[rng.permutation(len(synthetic))[:size]], half))
        found["real_floor"].append(frechet_distance(other, half))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return {**means, "ratio": means["synthetic"] / means["real_floor"], "pictures": size}


def mean_pairwise_distance(features: Features, labels: NDArray[np.int64]) -> float:
    """Mean cosine distance between two different pictures of one class, over all classes with two or more."""
    distances = []
    for label in np.unique(labels):
        own = features[labels == label]
        if len(own) > 1:
            upper = np.triu_indices(len(own), 1)
            distances.append(float(1 - (own @ own.T)[upper].mean()))
    return float(np.mean(distances))


@dataclass(frozen=True)
class Nearness:
    """Share of `pictures` nearer to the upstream than the first percentile of real ones.

    `chance` is what the real pictures themselves give (0.01), `upper` the end of a 95 % interval around it for this
    many pictures: a larger share is more than chance.
    """

    pictures: int
    threshold: float
    share: float
    chance: float
    upper: float

    def row(self) -> dict[str, float]:
        """As JSON holds it."""
        return asdict(self)


def nearness(generated: NDArray[np.float64], real: NDArray[np.float64], percentile: float = 1.0) -> Nearness:
    """Compare distances to the nearest upstream picture: (n,) of generated with (m,) of real pictures."""
    threshold, chance = float(np.percentile(real, percentile)), percentile / 100
    upper = chance + 1.96 * float(np.sqrt(chance * (1 - chance) * (1 / len(generated) + 1 / len(real))))
    return Nearness(len(generated), threshold, float((generated < threshold).mean()), chance, upper)


def nearest_cosine_distances(
    features: Features, others: Features, unlike: Drawings | None = None, block: int = 512
) -> NDArray[np.float64]:
    """(n,): distance of each row to the nearest row of `others`, or to the nearest of another drawing."""
    nearest = []
    for start in range(0, len(features), block):
        distances = 1 - features[start : start + block] @ others.T
        nearest.append(_nearest(distances, unlike, start))
    return np.concatenate(nearest)


def nearest_pixel_distances(
    pictures: NDArray[np.float32], others: NDArray[np.float32], unlike: Drawings | None = None, block: int = 256
) -> NDArray[np.float64]:
    """(n,): root mean square difference of each flattened picture (n, values) to the nearest of `others`, or to the
    nearest of another drawing.
    """
    squares = (others**2).sum(1)
    nearest = []
    for start in range(0, len(pictures), block):
        part = pictures[start : start + block]
        distances = (part**2).sum(1)[:, None] + squares - 2 * part @ others.T
        nearest.append(np.sqrt(np.maximum(_nearest(distances, unlike, start), 0) / pictures.shape[1]))
    return np.concatenate(nearest).astype(np.float64)


def _nearest(distances: NDArray[Any], unlike: Drawings | None, start: int) -> NDArray[Any]:
    if unlike is not None:
        own, others = unlike
        distances[own[start : start + len(distances), None] == others] = np.inf
    return distances.min(1)
