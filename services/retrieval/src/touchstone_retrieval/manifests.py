"""Manifests of candidates and of curated sets: rows of earlier manifests with columns filled in, no bytes copied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.curation.candidates import Curated
from touchstone_retrieval.curation.nearest import Nearest


def candidate_table(upstream: pa.Table, found: pa.Table) -> pa.Table:
    """One row per finding, in order (strategies.findings.FOUND); shard, offset and length still point into the
    upstream's tars."""
    found = found.combine_chunks()
    columns = ("class_id", "found_by", "query", "similarity")
    return _with_columns(upstream.take(found["row"]), {name: found[name].to_numpy() for name in columns})


@dataclass(frozen=True)
class ReferenceIds:
    """Ids of the images that candidates were compared with, by position."""

    test: Sequence[str]
    validation: Sequence[str]
    upstream: Sequence[str]


def curated_table(candidates: pa.Table, curated: Curated, references: ReferenceIds) -> pa.Table:
    """Every candidate, dropped or not, with its score, fate and nearest reference images."""
    return _with_columns(
        candidates,
        {
            "score": curated.scores,
            "kept": curated.kept,
            "drop_reason": curated.reasons.tolist(),
            **_nearest_columns("test", curated.nearest, references.test),
            **_nearest_columns("validation", curated.nearest_validation, references.validation),
            **_nearest_columns("upstream", curated.nearest_upstream, references.upstream),
        },
    )


def _nearest_columns(name: str, nearest: Nearest | None, ids: Sequence[str]) -> dict[str, Any]:
    if nearest is None:
        return {}
    return {
        f"nearest_{name}_id": [ids[position] for position in nearest.position],
        f"nearest_{name}_cosine": nearest.cosine,
    }


def labels(candidates: pa.Table, classes: int) -> np.ndarray:
    """int64 (rows,). Raises Invalid where a candidate is of no class of the target."""
    class_ids: np.ndarray = candidates["class_id"].to_numpy().astype(np.int64)
    if ((class_ids < 0) | (class_ids >= classes)).any():
        raise Invalid(f"candidates have class ids outside 0..{classes - 1}", code="bad_class_id")
    return class_ids


def _with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array(values, field.type))
    return table
