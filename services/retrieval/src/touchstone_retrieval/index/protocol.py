"""What a vector index promises. Rows are positions in the upstream: its shards' manifests, concatenated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from touchstone_contracts.problems import Transient
from touchstone_runtime.serving import ProgressFunction, no_progress

VectorName = Literal["image", "text"]
MatchMode = Literal["phrase", "all_tokens"]

TOKENIZER = "word"
"""Tokens are maximal runs of letters and digits, lower-cased; everything else separates. No stemming, no stop words."""


class IndexUnavailable(Transient):
    code = "vector_index"
    title = "Vector index unavailable"


@dataclass(frozen=True)
class CollectionShape:
    count: int
    dimension: int


@dataclass(frozen=True)
class IndexRows:
    """Consecutive rows: embeddings of shape (rows, dimension), captions and keys of the same length."""

    first_row: int
    image: np.ndarray
    text: np.ndarray
    captions: Sequence[str]
    keys: Sequence[str]


RowLoader = Callable[[], Iterator[IndexRows]]
"""Reads all rows of a collection again, from the object store."""


@dataclass(frozen=True)
class CaptionMatch:
    """Captions that contain all tokens of `query`: adjacent and in order (`phrase`), or anywhere (`all_tokens`).

    A query without a token matches nothing."""

    mode: MatchMode
    query: str


class Hit(NamedTuple):
    row: int
    score: float
    """Cosine, rounded to ties.DECIMALS."""


class VectorIndex(Protocol):
    """A cache of embeddings and captions by collection. Adapters raise IndexUnavailable when it cannot be reached."""

    exact: bool
    """Whether searches return the true nearest neighbours, and so the same ones every time."""

    def ensure(
        self, collection: str, shape: CollectionShape, load: RowLoader, progress: ProgressFunction = no_progress
    ) -> bool:
        """Makes the collection complete; calls `load` only if it was not. Returns whether it had to be filled."""

    def count(self, collection: str) -> int:
        """Rows present; 0 for an unknown collection."""

    def search(
        self,
        collection: str,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
        only: CaptionMatch | None = None,
    ) -> Iterator[list[Hit]]:
        """For each row of `queries` (queries, dimension) the k nearest, best first, equal scores by row.

        Found as they are asked for: a target's hits are too many to exist at once."""

    def match_text(self, collection: str, match: CaptionMatch, limit: int) -> list[int]:
        """The first `limit` rows, in upstream order, whose caption matches."""

    def close(self) -> None:
        """Releases connections and locks."""


def require_all_rows(collection: str, loaded: int, shape: CollectionShape) -> None:
    """Raises ValueError: a loader that yields fewer rows would make every later search refill the collection."""
    if loaded != shape.count:
        raise ValueError(f"collection {collection} needs {shape.count} rows, its loader gave {loaded}")
