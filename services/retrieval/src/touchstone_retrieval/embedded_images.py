"""Loading an image set together with its embeddings: row i of the manifest is row i of the arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import EMBED_IMAGES, EmbeddedShard, ImagesEmbedded
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import with_all_columns

from touchstone_retrieval.unusable_rows import zeroed


@dataclass(frozen=True)
class EmbeddedImages:
    """The results of a pair of steps; arrays and tables are read when asked for."""

    artifacts: Artifacts
    images: ImageSet
    embeddings: ImagesEmbedded
    requested: int
    """Images the step that made the set was asked for."""

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """`columns`: some that every manifest has. None: all, also those that came later."""
        table = self.artifacts.get_table(self.images.manifest, columns)
        return with_all_columns(table) if columns is None else table

    def image_vectors(self) -> np.ndarray:
        """float32 (count, dimension), L2-normalised; zeros where there is no usable embedding."""
        if self.embeddings.image_embeddings is None:
            return np.zeros((self.embeddings.count, self.embeddings.dimension), dtype=np.float32)
        return normalised(self.artifacts.get_array(self.embeddings.image_embeddings))

    def caption_vectors(self) -> np.ndarray:
        """As `image_vectors`. Raises Invalid when captions were not embedded."""
        if self.embeddings.caption_embeddings is None:
            raise Invalid("an upstream shard was embedded without its captions", code="captions_not_embedded")
        return normalised(self.artifacts.get_array(self.embeddings.caption_embeddings))


def load_embedded(artifacts: Artifacts, shard: EmbeddedShard) -> EmbeddedImages:
    """Raises MissingObject when a step has no result, Invalid when the two do not belong together."""
    images, requested = artifacts.image_set(shard.images)
    embeddings = artifacts.result(EMBED_IMAGES, shard.embeddings)
    if images.count != embeddings.count:
        raise Invalid(
            f"step {shard.images} has {images.count} images, step {shard.embeddings} {embeddings.count} embeddings",
            code="embeddings_mismatch",
        )
    return EmbeddedImages(artifacts, images, embeddings, requested)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """float32 rows of length 1 again after fp16; a row that is zero or not finite is zero."""
    wide = zeroed(vectors).astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True) if wide.size else np.ones((len(wide), 1), np.float32)
    rows: np.ndarray = wide / np.where(lengths > 0, lengths, 1)
    return rows


def joined_vectors(parts: Sequence[EmbeddedImages], dimension: int) -> np.ndarray:
    """float32 (images of all parts, dimension)."""
    return np.concatenate([of_width(part.image_vectors(), dimension) for part in parts])


def of_width(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """`vectors` (n, dimension). Raises Invalid when another encoder made them; an empty array has no width."""
    if len(vectors) == 0:
        return np.zeros((0, dimension), dtype=np.float32)
    if vectors.shape[1] != dimension:
        raise Invalid(
            f"embeddings have dimension {vectors.shape[1]}, the encoder has {dimension}", code="embeddings_mismatch"
        )
    return vectors
