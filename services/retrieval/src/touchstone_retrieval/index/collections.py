"""Collections are named by what they hold, so a changed shard is another collection and a lost one is made again."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.embedded_images import EmbeddedImages
from touchstone_retrieval.index.protocol import CollectionShape, IndexRows


def collection_name(shards: Sequence[EmbeddedImages]) -> str:
    """`upstream-` and the identity of the shards' manifests and embeddings, in order."""
    contents = [(shard.images.manifest.digest, shard.embeddings.model_dump(mode="json")) for shard in shards]
    return f"upstream-{identity(contents)[:40]}"


def collection_shape(shards: Sequence[EmbeddedImages]) -> CollectionShape:
    """Raises Invalid when the shards were embedded by encoders of different width."""
    dimensions = {shard.embeddings.dimension for shard in shards}
    if len(dimensions) != 1:
        raise Invalid(f"shards have embeddings of dimensions {sorted(dimensions)}", code="embeddings_mismatch")
    return CollectionShape(sum(shard.images.count for shard in shards), dimensions.pop())


def collection_rows(shards: Sequence[EmbeddedImages]) -> Iterator[IndexRows]:
    first_row = 0
    for shard in shards:
        table = shard.table()
        yield IndexRows(
            first_row=first_row,
            image=shard.image_vectors(),
            text=shard.caption_vectors(),
            captions=table["caption"].to_pylist(),
            keys=table["source_key"].to_pylist(),
        )
        first_row += table.num_rows
