"""Loading a curated pool for its audit."""

from collections.abc import Sequence

import numpy as np
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import AuditPool, EmbeddedShard
from touchstone_encoders.embedding import class_vectors
from touchstone_encoders.loading import EncoderCache
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import with_all_columns

from touchstone_retrieval.audit.agreement import nearest_class
from touchstone_retrieval.audit.audited import Audited, Judge
from touchstone_retrieval.embedded_images import EmbeddedImages, load_embedded
from touchstone_retrieval.manifests import labels

NO_VECTORS = np.zeros((0, 0), dtype=np.float32)


def read_audited(request: AuditPool, artifacts: Artifacts, encoders: EncoderCache) -> Audited:
    """Raises MissingObject when a step has no result, Invalid when a kept image was not embedded."""
    images, _ = artifacts.image_set(request.pool)
    table = with_all_columns(artifacts.get_table(images.manifest))
    kept = table.filter(table["kept"])
    ids = kept["id"].to_pylist()
    test = load_embedded(artifacts, request.test) if request.test else None
    return Audited(
        image_ids=ids,
        class_ids=labels(kept, len(request.classes)),
        captions=kept["caption"].to_pylist(),
        vectors=_vectors(artifacts, request.embedded, ids),
        test_vectors=test.image_vectors() if test else NO_VECTORS,
        scores=kept["score"].to_numpy(),
        test_cosines=kept["nearest_test_cosine"].to_numpy(),
        parts=kept["part"].to_numpy(),
        classes=request.classes,
        sizes=request.sizes,
        rules=request.rules,
        mixing=request.mixing,
        judge=_judge(request, test, encoders),
    )


def _vectors(artifacts: Artifacts, shards: Sequence[EmbeddedShard], ids: Sequence[str]) -> np.ndarray:
    """float32 (images, dimension), in the order of `ids`; one shard's array in memory at a time."""
    if not ids:
        return NO_VECTORS
    distinct, of_distinct = np.unique(np.asarray(ids), return_inverse=True)
    number = {image: index for index, image in enumerate(distinct.tolist())}
    found, vectors = np.zeros(len(distinct), dtype=bool), NO_VECTORS
    for shard in shards:
        embedded = load_embedded(artifacts, shard)
        images = embedded.table(("id",))["id"].to_pylist()
        rows = np.array([row for row, image in enumerate(images) if image in number], dtype=np.int64)
        indices = np.array([number[images[row]] for row in rows.tolist()], dtype=np.int64)
        if len(rows):
            some = embedded.image_vectors()[rows]
            vectors = vectors if vectors.size else np.empty((len(distinct), some.shape[1]), dtype=np.float32)
            vectors[indices], found[indices] = some, True
    if missing := int((~found).sum()):
        raise Invalid(f"{missing} kept images were not embedded for the audit", code="embeddings_missing")
    joined: np.ndarray = vectors[of_distinct]
    return joined


def _judge(request: AuditPool, test: EmbeddedImages | None, encoders: EncoderCache) -> Judge | None:
    if request.judge is None or test is None:
        return None
    head = class_vectors(encoders.get(request.judge), request.classes, request.templates, normalize_each=True)
    found = nearest_class(test.image_vectors(), head)
    return Judge(head, float((found == test.table()["class_id"].to_numpy()).mean()))
