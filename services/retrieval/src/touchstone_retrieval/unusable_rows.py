"""Rows of embeddings that nothing can be compared with: not finite, or zero.

They are stored as zeros, so that row i of an array stays row i of its manifest, and no search finds them."""

from collections.abc import Sequence

import numpy as np
from touchstone_contracts.account import NamedByReason
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.ingest.reasons import Reasons

IMAGE, CAPTION = "unusable_image_embedding", "unusable_caption_embedding"
"""Reasons, by what the row is an embedding of."""


def usable_rows(vectors: np.ndarray) -> np.ndarray:
    """bool (n,): rows of `vectors` (n, d) that are finite and not zero."""
    usable: np.ndarray = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
    return usable


def zeroed(vectors: np.ndarray) -> np.ndarray:
    """`vectors` (n, d) with zeros instead of the rows that are not finite; the same array where all rows are finite."""
    finite = np.isfinite(vectors).all(axis=1)
    return vectors if finite.all() else np.where(finite[:, None], vectors, vectors.dtype.type(0))


def require_some_usable(vectors: np.ndarray, encoder: str) -> None:
    """Raises Invalid where none of n > 0 embeddings (n, d) by the encoder is usable."""
    if len(vectors) and not usable_rows(vectors).any():
        raise Invalid(
            f"all {len(vectors)} embeddings that {encoder} computed are zero or not finite. Check the weights of the "
            "encoder",
            code="no_usable_embedding",
        )


def named_rows(
    names: Sequence[str],
    images: np.ndarray | None,
    captions: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> NamedByReason:
    """The unusable rows of each array (n, d), by reason and the names (n,) of the images. `among`: bool (n,), the rows
    that are looked at; None: all."""
    found = Reasons()
    for reason, vectors in ((IMAGE, images), (CAPTION, captions)):
        if vectors is not None:
            unusable = ~usable_rows(vectors) if among is None else among & ~usable_rows(vectors)
            for row in np.flatnonzero(unusable).tolist():
                found.add(reason, names[row] or f"row {row}")
    return found.named()
