"""The order of curation: leaked -> near_duplicate -> filtered -> over_cap.

Each rule sees what the earlier ones left, so a leaked image neither shadows its duplicates nor shifts a quantile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from touchstone_contracts.curation import Curation, CurationCounts, DropReason
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.curation.cap import within_cap
from touchstone_retrieval.curation.clip_score import own_class_scores
from touchstone_retrieval.curation.decontamination import NearestTest, leaked, nearest_test_images
from touchstone_retrieval.curation.filters import apply_filter
from touchstone_retrieval.curation.near_duplicates import without_near_duplicates

KEPT = ""


@dataclass(frozen=True)
class Candidates:
    """images (n, d) L2-normalised; class_ids (n,) from 0; image_ids: sha256 of the bytes, n of them."""

    images: np.ndarray
    class_ids: np.ndarray
    image_ids: Sequence[str]


@dataclass(frozen=True)
class HeldOutImages:
    """The target's test split: images (t, d) L2-normalised, t >= 1, and their ids."""

    images: np.ndarray
    image_ids: Sequence[str]


@dataclass(frozen=True)
class Curated:
    """By candidate, all (n,): CLIP score, nearest test image, and why it was dropped (KEPT where it was not)."""

    scores: np.ndarray
    nearest: NearestTest
    reasons: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        mask: np.ndarray = self.reasons == KEPT
        return mask


def curate(
    candidates: Candidates,
    class_vectors: np.ndarray,
    test: HeldOutImages,
    rules: Curation,
    progress: ProgressFunction = no_progress,
) -> Curated:
    """class_vectors (classes, d) are L2-normalised; all vectors come from one encoder."""
    ids, images = candidates.class_ids, candidates.images
    scores = own_class_scores(images, class_vectors, ids)
    nearest = nearest_test_images(images, test.images)
    reasons = np.full(len(images), KEPT, dtype=object)
    reasons[leaked(nearest, candidates.image_ids, test.image_ids, rules.leak_cosine)] = "leaked"
    if rules.near_duplicate_cosine is not None:
        left = np.flatnonzero(reasons == KEPT)
        left_ids = [candidates.image_ids[i] for i in left.tolist()]
        stays = without_near_duplicates(
            images[left], left_ids, scores[left], ids[left], rules.near_duplicate_cosine, progress
        )
        reasons[left[~stays]] = "near_duplicate"
    left = np.flatnonzero(reasons == KEPT)
    reasons[left[~apply_filter(rules.filter, scores[left], ids[left])]] = "filtered"
    left = np.flatnonzero(reasons == KEPT)
    reasons[left[~within_cap(scores[left], ids[left], rules.per_class_cap)]] = "over_cap"
    return Curated(scores, nearest, reasons)


def kept_by_class(curated: Curated, class_ids: np.ndarray, classes: int) -> np.ndarray:
    """Kept images per class id, (classes,)."""
    return np.bincount(class_ids[curated.kept], minlength=classes)


def count_stages(curated: Curated, class_ids: np.ndarray, classes: int, requested: int) -> CurationCounts:
    dropped = {reason: int((curated.reasons == reason).sum()) for reason in get_args(DropReason)}
    return CurationCounts(
        requested=requested,
        obtained=len(curated.reasons),
        kept=int(curated.kept.sum()),
        classes_without_images=tuple(np.flatnonzero(kept_by_class(curated, class_ids, classes) == 0).tolist()),
        **dropped,
    )
