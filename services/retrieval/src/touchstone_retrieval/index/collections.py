"""From embedded shards to what an index holds: named by content, so a changed shard is another and a lost one is made
again."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.embedded_images import EmbeddedImages
from touchstone_retrieval.index.points import NAME_DIGITS
from touchstone_retrieval.index.protocol import Collection, IndexRows, IndexShard


def collection_of(shards: Sequence[EmbeddedImages]) -> Collection:
    """Raises Invalid when the shards were embedded by encoders of different width."""
    dimensions = {shard.embeddings.dimension for shard in shards}
    if len(dimensions) != 1:
        raise Invalid(f"shards have embeddings of dimensions {sorted(dimensions)}", code="embeddings_mismatch")
    contents = [_content(shard) for shard in shards]
    return Collection(f"upstream-{identity(contents)[:40]}", dimensions.pop(), _named(shards, contents))


def _content(shard: EmbeddedImages) -> tuple[str, Any]:
    return shard.images.manifest.digest, shard.embeddings.model_dump(mode="json", exclude={"compared"})


def _named(shards: Sequence[EmbeddedImages], contents: Sequence[tuple[str, Any]]) -> tuple[IndexShard, ...]:
    seen = Counter[str]()
    named = []
    for shard, content in zip(shards, contents, strict=True):
        name = identity(content)
        # An upstream may hold the same shard twice: its rows then count twice.
        named.append(
            IndexShard(identity([name, seen[name]])[:NAME_DIGITS], shard.images.count, partial(index_rows, shard))
        )
        seen[name] += 1
    return tuple(named)


def index_rows(shard: EmbeddedImages) -> IndexRows:
    return IndexRows(image=shard.image_vectors(), text=shard.caption_vectors())
