"""Manifests of candidates and of curated sets: rows of earlier manifests with columns filled in, no bytes copied."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from touchstone_contracts.problems import Invalid
from touchstone_runtime.image_sets import BLANK_ID

from touchstone_retrieval.columns import with_columns
from touchstone_retrieval.curation.candidates import Curated
from touchstone_retrieval.curation.nearest import Nearest


def candidate_table(manifests: Iterable[pa.Table], found: pa.Table) -> pa.Table:
    """One row per finding, in order (strategies.findings.FOUND); shard, offset and length still point into the
    upstream's tars. `manifests`: of the upstream's shards, of which one at a time is in memory."""
    found = found.combine_chunks()
    columns = ("class_id", "found_by", "query", "similarity")
    rows = _rows_of(manifests, found["row"].to_numpy())
    return with_columns(rows, {name: found[name].to_numpy() for name in columns})


def _rows_of(tables: Iterable[pa.Table], rows: np.ndarray) -> pa.Table:
    """Of the joined tables, in the order of `rows`."""
    taken, positions, first = [], [], 0
    for table in tables:
        here = np.flatnonzero((rows >= first) & (rows < first + table.num_rows))
        taken.append(table.take(rows[here] - first))
        positions.append(here)
        first += table.num_rows
    return pa.concat_tables(taken).combine_chunks().take(np.argsort(np.concatenate(positions)))


@dataclass(frozen=True)
class ReferenceIds:
    """Ids of the images that candidates were compared with, by position."""

    test: Sequence[str]
    validation: Sequence[str]
    upstream: Sequence[str]


def curated_table(candidates: pa.Table, curated: Curated, references: ReferenceIds) -> pa.Table:
    """Every candidate, dropped or not, with its score, fate and nearest reference images."""
    return with_columns(
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


def not_taken_down(candidates: pa.Table) -> np.ndarray:
    """The rows, int64, whose images are there."""
    return np.flatnonzero(candidates["id"].to_numpy(zero_copy_only=False) != BLANK_ID)


def labels(candidates: pa.Table, classes: int) -> np.ndarray:
    """int64 (rows,). Raises Invalid where a candidate is of no class of the target."""
    class_ids: np.ndarray = candidates["class_id"].to_numpy().astype(np.int64)
    if ((class_ids < 0) | (class_ids >= classes)).any():
        raise Invalid(f"candidates have class ids outside 0..{classes - 1}", code="bad_class_id")
    return class_ids
