"""Reading one parquet file of images, as `contracts.catalogue.ParquetFile` describes it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from touchstone_contracts.catalogue import ClusterColumn, ParquetFile

from touchstone_retrieval.ingest.captions import clean_caption
from touchstone_retrieval.ingest.parquet_reading import UNREADABLE, ConfinedParquet, Lost, column_values, open_parquet
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, UnreadableSource, clean_key, require_count

ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class ParquetSource:
    """A checked file: the columns are there and the number of rows is the registered one."""

    kind: SourceKind
    """`target` where there is a column class_id."""
    file: ConfinedParquet
    columns: tuple[str, ...]
    cluster: str | None = None
    """The column that says which images belong together."""
    unused: Reasons = field(default_factory=Reasons)

    @property
    def count(self) -> int:
        return self.file.count

    def rows(self) -> Iterator[SourceRow]:
        """In file order; without key and image where the file is damaged. Raises UnreadableSource at a row without key
        or class: guessing would shift labels."""
        number = 0
        for part in self.file.batches(self.columns, ROWS_AT_A_TIME):
            if isinstance(part, Lost):
                yield from (
                    SourceRow(f"row {number + each}", None, reason=part.reason) for each in range(part.num_rows)
                )
                number += part.num_rows
            else:
                yield from (_parse(row, self.kind, self.cluster) for row in _rows(part, self.columns))
                number += part.num_rows


def open_source(path: Path, source: ParquetFile) -> ParquetSource:
    """Raises UnreadableSource when it is no parquet file, lacks a column, or holds another number of images."""
    file = open_parquet(path, source.location)
    names = set(file.names)
    kind: SourceKind = "target" if "class_id" in names else "upstream"
    cluster = source.cluster.column if isinstance(source.cluster, ClusterColumn) else None
    needed = {"key", "image", "class_id" if kind == "target" else "caption", *([cluster] if cluster else [])}
    if missing := needed - names:
        raise UnreadableSource(f"{source.location} lacks the columns {sorted(missing)}", code="missing_columns")
    require_count(source.location, file.count, source.images)
    return ParquetSource(kind, file, tuple(sorted(needed | ({"caption"} & names))), cluster)


def _rows(batch: pa.RecordBatch, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    values = zip(*(column_values(batch, name) for name in columns), strict=True)
    return (dict(zip(columns, row, strict=True)) for row in values)


def _parse(row: dict[str, Any], kind: SourceKind, cluster: str | None) -> SourceRow:
    if row["key"] is None:
        raise UnreadableSource("a row has no key", code="missing_key")
    if any(value is UNREADABLE for value in row.values()):
        return SourceRow("", None, reason="unreadable_value")
    return SourceRow(
        key=clean_key(str(row["key"])),
        image=_image_bytes(row["image"]),
        caption=clean_caption(row.get("caption")),
        class_id=_class_id(row) if kind == "target" else -1,
        cluster="" if cluster is None or row[cluster] is None else clean_key(str(row[cluster])),
    )


def _image_bytes(value: object) -> bytes | None:
    """None where there are no bytes; a column that holds something else than bytes is an error."""
    if value is None or isinstance(value, bytes):
        return value or None
    raise UnreadableSource(f"column image holds {type(value).__name__}, not encoded bytes", code="wrong_column_type")


def _class_id(row: dict[str, Any]) -> int:
    value = row["class_id"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UnreadableSource(f"row {row['key']} has class_id {value!r}, not 0, 1, 2, ...", code="bad_class_id")
    return value
