"""Loading what a curation compares its candidates with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.steps import CurateImages, EmbeddedShard
from touchstone_runtime.artifacts import Artifacts

from touchstone_retrieval.curation.candidates import HeldOutImages, References
from touchstone_retrieval.embedded_images import EmbeddedImages, joined_vectors, load_embedded, of_width
from touchstone_retrieval.manifests import ReferenceIds


@dataclass(frozen=True)
class LoadedReferences:
    """One encoder embedded all of them; the upstream's arrays are read shard by shard when asked for."""

    tests: Sequence[EmbeddedImages]
    """Every test set of the target, compared as one."""
    validation: EmbeddedImages | None
    upstream: Sequence[EmbeddedImages]

    @property
    def dimension(self) -> int:
        return self.tests[0].embeddings.dimension

    def for_curation(self) -> References:
        return References(
            test=self._held_out(self.tests),
            validation=None if self.validation is None else self._held_out([self.validation]),
            upstream=(of_width(shard.image_vectors(), self.dimension) for shard in self.upstream)
            if self.upstream
            else None,
        )

    def _held_out(self, splits: Sequence[EmbeddedImages]) -> HeldOutImages:
        return HeldOutImages(joined_vectors(splits, self.dimension), _ids(splits))

    def ids(self) -> ReferenceIds:
        return ReferenceIds(
            test=_ids(self.tests),
            validation=_ids([self.validation]) if self.validation else (),
            upstream=_ids(self.upstream),
        )


def _ids(parts: Sequence[EmbeddedImages]) -> list[str]:
    return [image for part in parts for image in part.table(("id",))["id"].to_pylist()]


def load_references(artifacts: Artifacts, request: CurateImages) -> LoadedReferences:
    return LoadedReferences(
        tests=[load_embedded(artifacts, test) for test in (request.test, *request.further_tests)],
        validation=load_embedded(artifacts, request.validation) if request.validation else None,
        upstream=[load_embedded(artifacts, shard) for shard in request.upstream],
    )


def load_descriptors(artifacts: Artifacts, request: CurateImages, dimension: int) -> np.ndarray | None:
    """float32 (candidates, dimension), comparable with the references; None where the scored embeddings are."""
    if not request.copy_embeddings:
        return None
    shards = [
        EmbeddedShard(images=shard.images, embeddings=embeddings)
        for shard, embeddings in zip(request.candidates, request.copy_embeddings, strict=True)
    ]
    return joined_vectors([load_embedded(artifacts, shard) for shard in shards], dimension)
