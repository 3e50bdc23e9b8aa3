"""Images of a target's splits that look alike without being the same file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from touchstone_contracts.steps import AlikeImages, SplitsCompared
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.curation.nearest import nearest_images, nearest_of_parts
from touchstone_retrieval.curation.ranks import at_least


@dataclass(frozen=True)
class LabelledVectors:
    """images (n, d) L2-normalised, class_ids (n,), image_ids: sha256 of the bytes, n of them."""

    images: np.ndarray
    class_ids: np.ndarray
    image_ids: Sequence[str]


def compare_splits(
    splits: Mapping[str, LabelledVectors], cosine: float, progress: ProgressFunction = no_progress
) -> SplitsCompared:
    """Of each two splits the images of the first that look like one of the second; of each split those that look like
    one of another class."""
    pairs = list(combinations(splits, 2))
    total, alike, in_two_classes = len(pairs) + len(splits), list[AlikeImages](), dict[str, int]()
    for done, (one, other) in enumerate(pairs, 1):
        if images := _alike(splits[one], splits[other], cosine):
            alike.append(AlikeImages(splits=(one, other), images=images))
        progress(done, total)
    for done, (name, split) in enumerate(splits.items(), len(pairs) + 1):
        if images := _alike_in_two_classes(split, cosine):
            in_two_classes[name] = images
        progress(done, total)
    return SplitsCompared(cosine=cosine, alike=tuple(alike), in_two_classes=in_two_classes)


def _alike(split: LabelledVectors, other: LabelledVectors, cosine: float) -> int:
    if not len(split.images) or not len(other.images):
        return 0
    near = at_least(nearest_images(split.images, other.images).cosine, cosine)
    return len(_ids(split, near) - set(other.image_ids))


def _alike_in_two_classes(split: LabelledVectors, cosine: float) -> int:
    """Sorted by class, the images of all other classes are what lies before and behind those of one."""
    if not len(split.images):
        return 0
    order = np.argsort(split.class_ids, kind="stable")
    images, found = split.images[order], np.zeros(len(order), dtype=bool)
    _, starts = np.unique(split.class_ids[order], return_index=True)
    for first, last in zip(starts, [*starts[1:], len(order)], strict=True):
        others = [part for part in (images[:first], images[last:]) if len(part)]
        found[order[first:last]] = at_least(nearest_of_parts(images[first:last], others).cosine, cosine)
    return len(_ids(split, found) - _with_two_labels(split))


def _ids(split: LabelledVectors, chosen: np.ndarray) -> set[str]:
    return {split.image_ids[row] for row in np.flatnonzero(chosen).tolist()}


def _with_two_labels(split: LabelledVectors) -> set[str]:
    """Images that stand in several classes byte by byte."""
    labels: dict[str, int] = {}
    pairs = zip(split.image_ids, split.class_ids.tolist(), strict=True)
    return {image for image, class_id in pairs if labels.setdefault(image, class_id) != class_id}
