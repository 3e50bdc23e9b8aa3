"""What predictions are worth beyond top-1: plain functions of labels, classes and probabilities."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

CALIBRATION_BINS = 15
"""Of equal width over confidences from 0 to 1, the common choice since Guo et al. 2017."""


def macro_accuracy(predicted: np.ndarray, class_ids: np.ndarray) -> float:
    """Mean over the classes that have images of the share of their images predicted right."""
    images = np.bincount(class_ids)
    right = np.bincount(class_ids[predicted == class_ids], minlength=len(images))
    return float((right[images > 0] / images[images > 0]).mean())


def in_top_k(scores: np.ndarray, class_ids: np.ndarray, k: int) -> np.ndarray:
    """bool (images,): whose class is among the `k` best of `scores` (images, classes); ties count as better."""
    own = np.take_along_axis(scores, class_ids[:, None].astype(np.int64), axis=1)
    found: np.ndarray = (scores >= own).sum(axis=1) <= k
    return found


class SummedUp(NamedTuple):
    """Of all images, each (images,)."""

    predicted: np.ndarray
    """int32 class ids."""
    confidences: np.ndarray
    """float64 probabilities of those."""
    in_top5: np.ndarray


def summed_up(probabilities: Iterable[np.ndarray], class_ids: np.ndarray) -> SummedUp:
    """From blocks of (images, classes), of which one exists at a time."""
    done, blocks = 0, []
    for block in probabilities:
        own = class_ids[done : done + len(block)]
        blocks.append((block.argmax(axis=1).astype(np.int32), block.max(axis=1), in_top_k(block, own, 5)))
        done += len(block)
    return SummedUp(*map(np.concatenate, zip(*blocks, strict=True)))


def calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: |accuracy - mean confidence| of each bin, weighted by its share of the images.

    `confidences` (images,): probability of the predicted class; `right` (images,): whether it is the true one."""
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    surplus = np.bincount(bins, weights=confidences - right, minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(confidences))
