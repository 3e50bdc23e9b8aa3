"""Upstream images by the classes that a table gives them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from touchstone_contracts.arms.labelled import LabelTable
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.ingest.parquet_reading import ConfinedParquet, Lost, column_values, open_parquet
from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image

LABELLED = "labelled"
"""Of an image's column `found_by`."""
ROWS_AT_A_TIME = 65_536
_COLUMNS = ("key", "target", "class_id")


def read_labels(path: Path, table: LabelTable, target: str, classes: int) -> list[tuple[str, int]]:
    """(key, class id) of the target's rows. Raises Invalid when the file is damaged, is not the table that was
    described or has a class that the target has not."""
    file = open_parquet(path, table.location)
    if missing := [name for name in _COLUMNS if name not in file.names]:
        raise Invalid(f"{table.location} lacks the columns {', '.join(missing)}", code="missing_columns")
    if file.count != table.images:
        detail = f"{table.location} has {file.count} rows, the spec says {table.images}"
        raise Invalid(detail, code="wrong_count")
    own = [
        (key, label)
        for batch in _whole(file, table.location)
        for key, named, label in zip(*_values(batch), strict=True)
        if named == target
    ]
    if not all(isinstance(label, int) and 0 <= label < classes for _, label in own):
        detail = f"{table.location} has class ids of {target!r} outside 0..{classes - 1}"
        raise Invalid(detail, code="bad_class_id")
    return own


def _whole(file: ConfinedParquet, location: str) -> Iterator[pa.RecordBatch]:
    for part in file.batches(_COLUMNS, ROWS_AT_A_TIME):
        if isinstance(part, Lost):
            raise Invalid(f"{location} cannot be read as parquet: {part.reason}", code="unreadable_source")
        yield part


def _values(batch: pa.RecordBatch) -> list[list[Any]]:
    return [column_values(batch, name) for name in _COLUMNS]


def find_labelled(labels: Sequence[tuple[str, int]], keys: Sequence[str], image_ids: Sequence[str]) -> Findings:
    """`keys` and `image_ids` by row of the upstream. Found class by class, in upstream order; an image counts once in a
    class, and keys that the upstream has not are not found."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    found = sorted((label, row) for key, label in labels for row in rows.get(key, ()))
    first, again = first_of_each_image([Finding(label, row, LABELLED, math.nan) for label, row in found], image_ids)
    return first, FindingReport(requested=len(labels), found_again=again, kept=len(first))
