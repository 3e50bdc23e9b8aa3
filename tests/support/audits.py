"""Pools as the measures of a label card see them."""

from typing import Any

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import Curation
from touchstone_retrieval.audit.audited import Audited

CLASSES = (
    ClassLabel(id=0, display_name="flag of Guinea"),
    ClassLabel(id=1, display_name="flag of Papua New Guinea", aliases=("papua",)),
    ClassLabel(id=2, display_name="C.A.R.", retrieval_query="central african republic"),
)


def unit(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def audited(class_ids: list[int], angles: list[float] | None = None, **changes: Any) -> Audited:
    """Every image another one, without a caption; no test images."""
    count = len(class_ids)
    facts: dict[str, Any] = {
        "image_ids": [f"image {number:04}" for number in range(count)],
        "class_ids": np.array(class_ids, dtype=np.int64),
        "captions": [""] * count,
        "vectors": unit(*(angles or [0.0] * count)),
        "test_vectors": np.zeros((0, 0), dtype=np.float32),
        "scores": np.linspace(1, 0, count),
        "test_cosines": np.full(count, np.nan),
        "parts": np.full(count, -1),
        "classes": CLASSES,
        "sizes": (3,),
        "rules": Curation(),
    }
    return Audited(**(facts | changes))
