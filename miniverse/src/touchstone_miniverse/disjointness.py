"""How near held-out pictures come to the upstream: perceptual hashes of 64 bits, compared all with all."""

from collections.abc import Iterable
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

WITHIN = (2, 6)
"""Bits: up to 2 is the same picture re-encoded, up to 6 possibly the same drawing."""


@dataclass(frozen=True)
class NearPairs:
    """`within[bits]`: how many of the `pictures` have an upstream picture at most that many bits away."""

    pictures: int
    within: dict[int, int]


def near_pairs(held_out: NDArray[np.uint8], upstream: NDArray[np.uint8]) -> NearPairs:
    """Compare pictures (n, side, side, 3) with upstream pictures (m, side, side, 3)."""
    nearest = nearest_bits(perceptual_hashes(held_out), perceptual_hashes(upstream))
    return NearPairs(len(held_out), {bits: int((nearest <= bits).sum()) for bits in WITHIN})


def perceptual_hashes(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint64]:
    """(n,): the pHash of each picture as one number."""
    hashes = [np.packbits(imagehash.phash(Image.fromarray(picture)).hash.ravel()) for picture in pictures]
    return np.stack(hashes).view(np.uint64)[:, 0] if hashes else np.zeros(0, np.uint64)


def nearest_bits(hashes: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """(n,): Hamming distance of each hash to the nearest of `others`."""
    return np.array([np.bitwise_count(others ^ own).min() for own in hashes], np.uint8)
