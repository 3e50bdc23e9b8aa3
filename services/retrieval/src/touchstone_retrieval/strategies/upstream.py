"""The upstream as strategies see it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from touchstone_retrieval.index.protocol import CaptionMatch, Hit, VectorIndex, VectorName


@dataclass(frozen=True)
class SearchableUpstream:
    """A filled collection with the text tower that its embeddings came from."""

    index: VectorIndex
    collection: str
    image_ids: Sequence[str]
    """By row: sha256 of the encoded image."""
    embed_texts: Callable[[Sequence[str]], np.ndarray]
    """Texts -> L2-normalised (texts, dimension)."""
    image_vectors: Callable[[np.ndarray], np.ndarray]
    """Rows -> their L2-normalised image embeddings (rows, dimension)."""

    @property
    def count(self) -> int:
        return len(self.image_ids)

    def search(self, vector: VectorName, texts: Sequence[str], k: int) -> list[list[Hit]]:
        return self.index.search(self.collection, vector, self.embed_texts(texts), k)

    def match_text(self, match: CaptionMatch, limit: int) -> list[int]:
        return self.index.match_text(self.collection, match, limit)
