"""The images of an upstream that answer one query: each once, best first."""

import base64
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.problems import Invalid
from touchstone_contracts.search import MOST_CAPTION, SearchHit
from touchstone_contracts.values import Digest
from touchstone_encoders.embedding import embed_images
from touchstone_encoders.loading import LoadedTower
from touchstone_runtime.caches import ByteCache
from touchstone_runtime.decoding import UndecodableImage
from touchstone_runtime.image_sets import BLANK_ID
from touchstone_runtime.inspection import inspector

from touchstone_retrieval.embedded_images import EmbeddedImages
from touchstone_retrieval.strategies.caption_search import matching_rows, searches_for
from touchstone_retrieval.unusable_rows import usable_rows

COLUMNS = ("id", "caption", "shard", "offset", "length", "source_key")
"""Of manifests: what is told of an image that was found."""
MANIFEST_BYTES = 256 * 2**20
"""Of the manifests that a worker keeps for the next search."""


class Match(NamedTuple):
    row: int
    """Position in the upstream."""
    score: float | None


Find = Callable[[int], Sequence[Match]]
"""The first so many matches, best first; fewer where there are no more."""
ManifestCache = ByteCache[Digest, pa.Table]


def manifest_cache() -> ManifestCache:
    return ManifestCache(MANIFEST_BYTES, lambda table: table.nbytes)


@dataclass(frozen=True)
class Manifests:
    """Those of an upstream's shards, joined: row i is row i of its index. Each is read when it is needed."""

    shards: Sequence[EmbeddedImages]
    cache: ManifestCache

    @cached_property
    def _first_rows(self) -> list[int]:
        return [0, *accumulate(shard.images.count for shard in self.shards)]

    def _table(self, number: int) -> pa.Table:
        shard = self.shards[number]
        return self.cache.get_or_make(shard.images.manifest.digest, lambda: shard.table(COLUMNS))

    def _shard_and_row(self, row: int) -> tuple[int, int]:
        """The shard that holds a row of the upstream, and the row within it."""
        number = bisect_right(self._first_rows, row) - 1
        return number, row - self._first_rows[number]

    def captions(self) -> pa.ChunkedArray:
        chunks = [chunk for number in range(len(self.shards)) for chunk in self._table(number)["caption"].chunks]
        return pa.chunked_array(chunks, pa.string())

    def hit(self, match: Match) -> SearchHit:
        number, row = self._shard_and_row(match.row)
        table = self._table(number)
        facts = {name: table[name][row].as_py() for name in COLUMNS}
        caption = facts["caption"] or ""
        return SearchHit(
            image=facts["id"],
            score=match.score,
            caption=caption if len(caption) <= MOST_CAPTION else f"{caption[: MOST_CAPTION - 1]}…",
            source_key=facts["source_key"] or "",
            shard=facts["shard"] or None,
            offset=facts["offset"] or 0,
            length=facts["length"] or 0,
        )

    def image_vector(self, image: str) -> np.ndarray:
        """(1, dimension): the embedding of the first row with the image. Raises Invalid where there is none."""
        for number, shard in enumerate(self.shards):
            row = pc.index(self._table(number)["id"], image).as_py() if image != BLANK_ID else -1
            if row >= 0:
                return require_usable(shard.image_vectors()[row : row + 1], f"image {image!r} of the upstream")
        raise Invalid(
            f"the files that were searched hold no image {image!r}: take an id from the results of a search, or send "
            "the image itself",
            code="unknown_image",
        )


def first_distinct(find: Find, manifests: Manifests, limit: int) -> list[SearchHit]:
    """The best `limit` images, an image with several rows at the best of them. What was taken down is left out."""
    asked = limit
    while True:
        matches = find(asked)
        hits: dict[str, SearchHit] = {}
        for hit in map(manifests.hit, matches):
            hits.setdefault(hit.image, hit)
        hits.pop(BLANK_ID, None)
        if len(hits) >= limit or len(matches) < asked:
            return list(hits.values())[:limit]
        asked *= 2


def find_words(text: str, captions: pa.ChunkedArray) -> Find:
    """Captions that hold every word of the text (decision 0064). A text without a word finds nothing."""
    searches = searches_for([text], "all_tokens")
    return lambda limit: [Match(row, None) for row in matching_rows(captions, searches, limit)[0].tolist()]


def query_image_vector(tower: LoadedTower, image: str) -> np.ndarray:
    """(1, dimension) of an encoded image in base64, which is decoded for the first time in a process of its own.
    Raises Invalid."""
    data = base64.b64decode(image)
    outcome = inspector().outcome(data)
    if isinstance(outcome, str):
        raise UndecodableImage(
            f"the image cannot be searched for ({outcome.replace('_', ' ')}): send a JPEG, PNG, WebP, GIF, BMP, TIFF "
            "or AVIF that image viewers open"
        )
    return require_usable(embed_images(tower, [data]), "the image")


def require_usable(vectors: np.ndarray, what: str) -> np.ndarray:
    """Raises Invalid where an embedding is zero or not finite."""
    if not usable_rows(vectors).all():
        raise Invalid(
            f"{what} has no usable embedding: it is zero or not finite, so nothing can be compared with it",
            code="no_usable_embedding",
        )
    return vectors


def non_empty(shards: Iterable[EmbeddedImages]) -> list[EmbeddedImages]:
    return [shard for shard in shards if shard.images.count]
