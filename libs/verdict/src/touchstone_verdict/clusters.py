"""Test images that were drawn together: several pictures of one concept, scene or patient, cuts of one photograph.

Whether a model gets one of them right says something about the others, so the draw of test images is the draw of
clusters. Variances are those of sums over clusters (Liang and Zeger 1986; Cameron and Miller 2015)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Clusters = npt.NDArray[np.int32]
"""(images,): 0, 1, 2, ... of each test image; equal numbers were drawn together."""


def numbered(names: Sequence[str]) -> Clusters:
    """Clusters by their names, one for each test image. An image without a name is a cluster of its own."""
    labels = [f"name {name}" if name else f"image {position}" for position, name in enumerate(names)]
    return np.unique(labels, return_inverse=True)[1].astype(np.int32)


def number_of_clusters(images: int, clusters: Clusters | None) -> int:
    """As many as images where each was drawn by itself."""
    return images if clusters is None else len(np.unique(clusters))


def summed(values: Array, clusters: Clusters | None) -> Array:
    """(..., images) -> (..., clusters)."""
    if clusters is None:
        return values
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    sums: Array = np.add.reduceat(values[..., order], starts, axis=-1)
    return sums


def image_variance(values: Array, clusters: Clusters | None) -> float:
    """Of the mean of `values` (images,), over draws of test images; 0 where a single draw tells nothing."""
    groups = number_of_clusters(len(values), clusters)
    if groups < 2:
        return 0.0
    sums = summed(values - values.mean(), clusters)
    return float((sums**2).sum()) / (groups - 1) * groups / len(values) ** 2
