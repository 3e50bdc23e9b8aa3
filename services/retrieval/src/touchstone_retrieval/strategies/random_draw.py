"""The untargeted control: what does any real image of the upstream bring (paper section 6, E6)?"""

from collections.abc import Sequence

import numpy as np
from touchstone_contracts.arms.retrieval import RandomDraw
from touchstone_contracts.catalogue import ClassLabel, filled

from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.upstream import SearchableUpstream
from touchstone_retrieval.unusable_rows import usable_rows


def draw_at_random(
    strategy: RandomDraw,
    upstream: SearchableUpstream,
    classes: Sequence[ClassLabel],
    templates: Sequence[str],
    rng: np.random.Generator,
) -> Findings:
    """Rows drawn uniformly without replacement, each labelled with the class whose text vector is nearest.

    A row without a usable embedding has no nearest class and is left out. So classes get unequal shares, some perhaps
    none: the draw does not know them."""
    requested = strategy.images_per_class * len(classes)
    count = upstream.count if upstream.members is None else len(upstream.members)
    rows = np.sort(rng.choice(count, size=min(requested, count), replace=False))
    if upstream.members is not None:
        rows = upstream.members[rows]
    vectors = upstream.image_vectors(rows)
    usable = usable_rows(vectors)
    rows, vectors = rows[usable], vectors[usable]
    cosines = vectors @ _class_vectors(upstream, classes, templates).T  # (rows, classes)
    nearest = cosines.argmax(axis=1)
    found = sorted(
        Finding(classes[index].id, int(row), "random", round(float(cosine[index]), 6))
        for row, index, cosine in zip(rows, nearest, cosines, strict=True)
    )
    first, again = first_of_each_image(found, upstream.image_ids)
    return first, FindingReport(requested, again, len(first))


def _class_vectors(upstream: SearchableUpstream, classes: Sequence[ClassLabel], templates: Sequence[str]) -> np.ndarray:
    """(classes, dimension): the normalised mean over the retrieval templates."""
    texts = [filled(template, label.query) for label in classes for template in templates]
    means = upstream.embed_texts(texts).reshape(len(classes), len(templates), -1).mean(axis=1)
    vectors: np.ndarray = means / np.linalg.norm(means, axis=1, keepdims=True)
    return vectors
