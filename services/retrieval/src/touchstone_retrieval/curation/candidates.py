"""What is curated, what it is compared with, and what has become of it so far."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from touchstone_retrieval.curation.nearest import Nearest
from touchstone_retrieval.unusable_rows import usable_rows

KEPT = ""


@dataclass(frozen=True)
class Candidates:
    """images (n, d) L2-normalised; class_ids (n,) from 0; image_ids: sha256 of the bytes, n of them."""

    images: np.ndarray
    class_ids: np.ndarray
    image_ids: Sequence[str]
    descriptors: np.ndarray | None = None
    """(n, e) L2-normalised, to compare images with images; None takes `images`."""
    placeholders: Collection[str] = ()
    """Ids of those that stand for images that are gone."""

    @property
    def compared(self) -> np.ndarray:
        return self.images if self.descriptors is None else self.descriptors

    @property
    def comparable(self) -> np.ndarray:
        """bool (n,): those with usable embeddings."""
        mask: np.ndarray = usable_rows(self.images) & usable_rows(self.compared)
        return mask

    def take(self, rows: np.ndarray) -> "Candidates":
        descriptors = None if self.descriptors is None else self.descriptors[rows]
        ids = [self.image_ids[row] for row in rows.tolist()]
        return Candidates(self.images[rows], self.class_ids[rows], ids, descriptors, self.placeholders)


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

    def drop(self, reason: str, goes: np.ndarray, among: np.ndarray | None = None) -> None:
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
