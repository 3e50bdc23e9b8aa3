"""The most similar of many reference images, exactly: what decontamination and novelty ask."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

BLOCK = 4096
"""Images compared at a time."""
CELLS = BLOCK * 2560
"""Cosines in memory at once, 40 MB: with more references than 2,560 fewer images are compared at a time."""


@dataclass(frozen=True)
class Nearest:
    """By image: position of the most similar reference (the first of equals) and the cosine to it, both (n,)."""

    position: np.ndarray
    cosine: np.ndarray

    def take(self, rows: np.ndarray) -> "Nearest":
        return Nearest(self.position[rows], self.cosine[rows])


def nearest_images(images: np.ndarray, references: np.ndarray) -> Nearest:
    """images (n, d) and references (r, d), r >= 1, are L2-normalised."""
    position = np.zeros(len(images), dtype=np.int64)
    cosine = np.zeros(len(images), dtype=np.float32)
    block = max(1, min(BLOCK, CELLS // len(references)))
    for start in range(0, len(images), block):
        cosines = images[start : start + block] @ references.T  # (block, r)
        position[start : start + block] = cosines.argmax(axis=1)
        cosine[start : start + block] = np.minimum(cosines.max(axis=1), 1)
    return Nearest(position, cosine)


def nearest_of_parts(images: np.ndarray, parts: Iterable[np.ndarray]) -> Nearest:
    """As `nearest_images` over the joined parts, of which one at a time is in memory."""
    position = np.zeros(len(images), dtype=np.int64)
    cosine = np.full(len(images), -np.inf, dtype=np.float32)
    first = 0
    for part in parts:
        found = nearest_images(images, part)
        closer = found.cosine > cosine
        position[closer], cosine[closer] = found.position[closer] + first, found.cosine[closer]
        first += len(part)
    return Nearest(position, cosine)
