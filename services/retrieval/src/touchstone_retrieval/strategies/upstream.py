"""The upstream as strategies see it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.index.protocol import Collection, Hit, VectorIndex, VectorName
from touchstone_retrieval.strategies.caption_search import CaptionSearch, matching_rows


@dataclass(frozen=True)
class SearchableUpstream:
    """A filled collection with the text tower that its embeddings came from."""

    index: VectorIndex
    collection: Collection
    image_ids: Sequence[str]
    """By row: sha256 of the encoded image."""
    embed_texts: Callable[[Sequence[str]], np.ndarray]
    """Texts -> L2-normalised (texts, dimension)."""
    captions: pa.ChunkedArray
    """By row."""
    image_vectors: Callable[[np.ndarray], np.ndarray]
    """Rows -> their L2-normalised image embeddings (rows, dimension)."""
    members: np.ndarray | None = None
    """Rows that belong to the upstream, rising, where a list of uids says it; None: all."""

    @property
    def count(self) -> int:
        return len(self.image_ids)

    def search(self, vector: VectorName, queries: np.ndarray, k: int) -> Iterator[list[Hit]]:
        return self.index.search(self.collection, vector, queries, k)

    def vectors(self, vector: VectorName, rows: Sequence[int]) -> np.ndarray:
        return self.index.vectors(self.collection, vector, rows)

    def match_words(self, searches: Sequence[CaptionSearch], limit: int) -> list[np.ndarray]:
        """For each search the first `limit` rows whose caption it finds."""
        return matching_rows(self.captions, searches, limit)

    def match_pattern(self, pattern: str, limit: int) -> list[int]:
        """The first `limit` rows whose caption holds the RE2 pattern; time is linear in the captions, whatever it is.

        Raises Invalid when the engine refuses the pattern."""
        try:
            matches = pc.match_substring_regex(self.captions, pattern, ignore_case=True)
        except pa.ArrowInvalid as error:
            raise Invalid(f"pattern {pattern!r}: {error}", code="bad_pattern") from error
        rows: list[int] = np.flatnonzero(matches.to_numpy())[:limit].tolist()
        return rows
