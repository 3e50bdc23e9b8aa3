"""Images that were removed as leaks, each beside the held-out image that it resembles."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.views import CandidateImage, HeldOutImage

from touchstone_api.results.candidates import CandidateReader
from touchstone_api.results.images import Selection

MOST_PAIRS = 6
COSINES = {"leaked": "nearest_test_cosine", "leaked_validation": "nearest_validation_cosine"}
"""By reason: the manifest's column of similarities to the split that was leaked from."""


@dataclass(frozen=True)
class LeakPair:
    image: CandidateImage
    held_out: HeldOutImage | None
    """None where it is no longer there."""
    cosine: float | None


@dataclass(frozen=True)
class LeaksOfPool:
    target: str
    arm: str
    drop_reason: str
    total: int
    pairs: tuple[LeakPair, ...]
    """The most similar first, at most MOST_PAIRS."""
    address: str
    """Of the page with all of them."""


def leaks_of_pool(candidates: CandidateReader) -> Iterator[LeaksOfPool]:
    """Of each split that an image was leaked from."""
    pool, addresses = candidates.reader.finished.pool(candidates.step), candidates.addresses
    for reason, column in COSINES.items():
        selection = Selection(drop_reason=reason)
        rows = selection.rows(pool)
        if not len(rows):
            continue
        cosines = pool[column].to_numpy()[rows]
        closest = rows[np.argsort(-cosines, kind="stable")[:MOST_PAIRS]]
        yield LeaksOfPool(
            target=addresses.target,
            arm=addresses.arm,
            drop_reason=reason,
            total=len(rows),
            pairs=tuple(_pair(candidates.read(row, selection), reason) for row in closest.tolist()),
            address=addresses.list_of(selection),
        )


def _pair(image: CandidateImage, reason: str) -> LeakPair:
    if reason == "leaked":
        return LeakPair(image, image.nearest_test, image.nearest_test_cosine)
    return LeakPair(image, image.nearest_validation, image.nearest_validation_cosine)
