"""Upstream images by the classes that a table gives them."""

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from touchstone_contracts.arms.labelled import LabelTable
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image

LABELLED = "labelled"
"""Of an image's column `found_by`."""
_COLUMNS = ("key", "target", "class_id")


def read_labels(path: Path, table: LabelTable, target: str, classes: int) -> list[tuple[str, int]]:
    """(key, class id) of the target's rows. Raises Invalid when the file is damaged, is not the table that was
    described or has a class that the target has not."""
    try:
        file = pq.ParquetFile(path)
        if missing := [name for name in _COLUMNS if name not in file.schema_arrow.names]:
            raise Invalid(f"{table.location} lacks the columns {', '.join(missing)}", code="missing_columns")
        if file.metadata.num_rows != table.images:
            detail = f"{table.location} has {file.metadata.num_rows} rows, the spec says {table.images}"
            raise Invalid(detail, code="wrong_count")
        rows = file.read(list(_COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise Invalid(f"{table.location} cannot be read as parquet: {error}", code="unreadable_source") from error
    own = rows.filter(pc.equal(rows["target"], target))
    labels = own["class_id"].to_pylist()
    if any(label is None or not 0 <= label < classes for label in labels):
        detail = f"{table.location} has class ids of {target!r} outside 0..{classes - 1}"
        raise Invalid(detail, code="bad_class_id")
    return list(zip(own["key"].to_pylist(), labels, strict=True))


def find_labelled(labels: Sequence[tuple[str, int]], keys: Sequence[str], image_ids: Sequence[str]) -> Findings:
    """`keys` and `image_ids` by row of the upstream. Found class by class, in upstream order; an image counts once in a
    class, and keys that the upstream has not are not found."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    found = sorted((label, row) for key, label in labels for row in rows.get(key, ()))
    first, again = first_of_each_image([Finding(label, row, LABELLED, math.nan) for label, row in found], image_ids)
    return first, FindingReport(requested=len(labels), found_again=again, kept=len(first))
