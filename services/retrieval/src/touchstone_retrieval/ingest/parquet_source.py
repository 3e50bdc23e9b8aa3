"""Reading one parquet file of images, as `contracts.catalogue.ParquetFile` describes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from touchstone_contracts.catalogue import ClusterColumn, ParquetFile

from touchstone_retrieval.ingest.captions import clean_caption
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, UnreadableSource, require_count

ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class ParquetSource:
    """A checked file: the columns are there and the number of rows is the registered one."""

    kind: SourceKind
    """`target` where there is a column class_id."""
    file: pq.ParquetFile
    columns: tuple[str, ...]
    cluster: str | None = None
    """The column that says which images belong together."""

    @property
    def count(self) -> int:
        return int(self.file.metadata.num_rows)

    def rows(self) -> Iterator[SourceRow]:
        """In file order. Raises UnreadableSource at a row without key or class: guessing would shift labels."""
        try:
            for batch in self.file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=list(self.columns)):
                yield from (_parse(row, self.kind, self.cluster) for row in batch.to_pylist())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
            raise UnreadableSource(f"parquet data is damaged: {error}") from error


def open_source(path: Path, source: ParquetFile) -> ParquetSource:
    """Raises UnreadableSource when it is no parquet file, lacks a column, or holds another number of images."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadableSource(f"{source.location} is not a parquet file: {error}") from error
    names = set(file.schema_arrow.names)
    kind: SourceKind = "target" if "class_id" in names else "upstream"
    cluster = source.cluster.column if isinstance(source.cluster, ClusterColumn) else None
    needed = {"key", "image", "class_id" if kind == "target" else "caption", *([cluster] if cluster else [])}
    if missing := needed - names:
        raise UnreadableSource(f"{source.location} lacks the columns {sorted(missing)}", code="missing_columns")
    require_count(source.location, file.metadata.num_rows, source.images)
    return ParquetSource(kind, file, tuple(sorted(needed | ({"caption"} & names))), cluster)


def _parse(row: dict[str, Any], kind: SourceKind, cluster: str | None) -> SourceRow:
    if row["key"] is None:
        raise UnreadableSource("a row has no key", code="missing_key")
    return SourceRow(
        key=str(row["key"]),
        image=_image_bytes(row["image"]),
        caption=clean_caption(row.get("caption")),
        class_id=_class_id(row) if kind == "target" else -1,
        cluster="" if cluster is None or row[cluster] is None else str(row[cluster]),
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
