"""The order of curation: leaked (test, validation) -> familiar -> near_duplicate -> filtered -> over_cap.

Each rule sees what the earlier ones left, so a leaked image neither shadows its duplicates nor shifts a quantile.
Images are taken in the order of their ids, so neither the order they came in nor a tie decides what stays."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import FILTERED_BY, AllOf, Curation, CurationCounts, DropReason, stage_of
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.curation.cap import within_cap
from touchstone_retrieval.curation.clip_score import own_class_scores
from touchstone_retrieval.curation.decontamination import leaked
from touchstone_retrieval.curation.filters import apply_rule
from touchstone_retrieval.curation.near_duplicates import without_near_duplicates
from touchstone_retrieval.curation.nearest import Nearest, nearest_images, nearest_of_parts
from touchstone_retrieval.curation.ranks import at_least

KEPT = ""


@dataclass(frozen=True)
class Candidates:
    """images (n, d) L2-normalised; class_ids (n,) from 0; image_ids: sha256 of the bytes, n of them."""

    images: np.ndarray
    class_ids: np.ndarray
    image_ids: Sequence[str]
    descriptors: np.ndarray | None = None
    """(n, e) L2-normalised, to compare images with images; None takes `images`."""

    @property
    def compared(self) -> np.ndarray:
        return self.images if self.descriptors is None else self.descriptors

    def take(self, rows: np.ndarray) -> "Candidates":
        descriptors = None if self.descriptors is None else self.descriptors[rows]
        ids = [self.image_ids[row] for row in rows.tolist()]
        return Candidates(self.images[rows], self.class_ids[rows], ids, descriptors)


@dataclass(frozen=True)
class HeldOutImages:
    """A split of the target: images (t, e) L2-normalised, t >= 1, comparable with the candidates', and their ids."""

    images: np.ndarray
    image_ids: Sequence[str]


@dataclass(frozen=True)
class References:
    """What candidates are compared with. `upstream` yields arrays (rows, e), shard by shard."""

    test: HeldOutImages
    validation: HeldOutImages | None = None
    upstream: Iterable[np.ndarray] | None = None


@dataclass(frozen=True)
class Curated:
    """By candidate, all (n,): CLIP score, nearest references, and why it was dropped (KEPT where it was not)."""

    scores: np.ndarray
    reasons: np.ndarray
    nearest: Nearest
    """Of the test split."""
    nearest_validation: Nearest | None = None
    nearest_upstream: Nearest | None = None

    @property
    def kept(self) -> np.ndarray:
        mask: np.ndarray = self.reasons == KEPT
        return mask

    def drop(self, reason: DropReason, goes: np.ndarray, among: np.ndarray | None = None) -> None:
        """Where `goes`, bool over the rows `among` (None: all), if no earlier rule dropped the image."""
        rows = np.flatnonzero(goes) if among is None else among[goes]
        self.reasons[rows[self.reasons[rows] == KEPT]] = reason

    def take(self, rows: np.ndarray) -> "Curated":
        return Curated(
            self.scores[rows],
            self.reasons[rows],
            self.nearest.take(rows),
            self.nearest_validation and self.nearest_validation.take(rows),
            self.nearest_upstream and self.nearest_upstream.take(rows),
        )


def curate(
    candidates: Candidates,
    class_vectors: np.ndarray,
    references: References,
    rules: Curation,
    classes: Sequence[ClassLabel] = (),
    progress: ProgressFunction = no_progress,
) -> Curated:
    """class_vectors (classes, d) are L2-normalised; `classes` are needed by a filter that names some."""
    order = np.lexsort((candidates.class_ids, np.array(candidates.image_ids, dtype=np.str_)))
    ordered = candidates.take(order)
    compared = _compare(ordered, class_vectors, references)
    _drop_leaks_and_copies(compared, ordered, references, rules, progress)
    _drop_by_score(compared, ordered.class_ids, rules, classes)
    return compared.take(np.argsort(order))


def _compare(candidates: Candidates, class_vectors: np.ndarray, references: References) -> Curated:
    """Nothing dropped yet."""
    images, validation, upstream = candidates.compared, references.validation, references.upstream
    return Curated(
        scores=own_class_scores(candidates.images, class_vectors, candidates.class_ids),
        reasons=np.full(len(images), KEPT, dtype=object),
        nearest=nearest_images(images, references.test.images),
        nearest_validation=None if validation is None else nearest_images(images, validation.images),
        nearest_upstream=None if upstream is None else nearest_of_parts(images, upstream),
    )


def _drop_leaks_and_copies(
    compared: Curated, candidates: Candidates, references: References, rules: Curation, progress: ProgressFunction
) -> None:
    ids, validation = candidates.image_ids, references.validation
    if "test" in rules.leak_splits:
        compared.drop("leaked", leaked(compared.nearest, ids, references.test.image_ids, rules.leak_cosine))
    if compared.nearest_validation is not None and validation is not None:
        leaks = leaked(compared.nearest_validation, ids, validation.image_ids, rules.leak_cosine)
        compared.drop("leaked_validation", leaks)
    if compared.nearest_upstream is not None and rules.novelty_cosine is not None:
        compared.drop("familiar", at_least(compared.nearest_upstream.cosine, rules.novelty_cosine))
    if rules.near_duplicate_cosine is not None:
        left = np.flatnonzero(compared.kept)
        part = candidates.take(left)
        stays = without_near_duplicates(
            part.compared, part.image_ids, compared.scores[left], part.class_ids, rules.near_duplicate_cosine, progress
        )
        compared.drop("near_duplicate", ~stays, left)


def _drop_by_score(compared: Curated, class_ids: np.ndarray, rules: Curation, classes: Sequence[ClassLabel]) -> None:
    for rule in rules.score_rules:
        left = np.flatnonzero(compared.kept)
        reason = FILTERED_BY[rule.kind] if isinstance(rules.filter, AllOf) else "filtered"
        compared.drop(reason, ~apply_rule(rule, compared.scores[left], class_ids[left], classes), left)
    left = np.flatnonzero(compared.kept)
    compared.drop("over_cap", ~within_cap(compared.scores[left], class_ids[left], rules.per_class_cap), left)


def count_stages(reasons: np.ndarray, class_ids: np.ndarray, classes: int, requested: int) -> CurationCounts:
    """reasons and class_ids (n,), KEPT where an image stays."""
    dropped = Counter(map(stage_of, reasons.tolist()))
    kept = np.bincount(class_ids[reasons == KEPT], minlength=classes)
    return CurationCounts(
        requested=requested,
        obtained=len(reasons),
        kept=int(kept.sum()),
        classes_without_images=tuple(np.flatnonzero(kept == 0).tolist()),
        **{stage: dropped[stage] for stage in map(stage_of, get_args(DropReason))},
    )
