"""Reading one parquet file of images, as `contracts.catalogue.ParquetFile` describes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from touchstone_contracts.catalogue import ClusterColumn, ParquetFile

from touchstone_retrieval.ingest.captions import UNREADABLE_CAPTION, first_caption
from touchstone_retrieval.ingest.column_names import OF_IMAGES, Columns, find_columns, require_column, require_found
from touchstone_retrieval.ingest.labels import Labels, class_label_names, labels_of
from touchstone_retrieval.ingest.parquet_images import image_in
from touchstone_retrieval.ingest.parquet_reading import UNREADABLE, ConfinedParquet, Lost, column_values, open_parquet
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, UnreadableSource, clean_key, require_count

ROWS_AT_A_TIME = 256
DIGEST_CHARACTERS = 12
"""Of the file's digest in keys that are made: enough to tell the files of an upstream apart."""
Values = Mapping[str, Any]
"""Column -> value, of one row."""


@dataclass(frozen=True)
class ParquetSource:
    """A checked file: the columns are there and the number of rows is the registered one."""

    kind: SourceKind
    file: ConfinedParquet
    columns: Columns
    """With `cluster`: which images belong together."""
    labels: Labels
    digest: str
    """Of the file: without keys, its images are called by it and their row."""
    unused: Reasons = field(default_factory=Reasons)

    @property
    def count(self) -> int:
        return self.file.count

    def rows(self) -> Iterator[SourceRow]:
        """In file order; without key and image where the file is damaged."""
        number, needed = 0, list(dict.fromkeys(name for names in self.columns.values() for name in names))
        for part in self.file.batches(needed, ROWS_AT_A_TIME):
            if isinstance(part, Lost):
                lost = range(number, number + part.num_rows)
                yield from (SourceRow(f"row {each}", None, reason=part.reason) for each in lost)
            else:
                yield from self._batch(part, number)
            number += part.num_rows

    def _batch(self, batch: pa.RecordBatch, first: int) -> Iterator[SourceRow]:
        (image,) = self.columns["image"]
        others = [name for name in batch.schema.names if name != image]
        values = zip(*(column_values(batch, name) for name in others), strict=True) if others else None
        for position, picture in enumerate(batch.column(image)):
            row = dict(zip(others, next(values), strict=True)) if values else {}
            yield self._row(first + position, image_in(picture, image), row)

    def _row(self, number: int, image: tuple[bytes | None, str], row: Values) -> SourceRow:
        key, cluster = self._first(row, "key"), self._first(row, "cluster")
        caption, notes = self._caption(row)
        class_id = self.labels.class_id(self._first(row, "label")) if self.kind == "target" else -1
        found, reason = image
        if any(value is UNREADABLE for value in (key, cluster, self._first(row, "label"))):
            reason = "unreadable_value"
        reason = reason or (class_id if isinstance(class_id, str) else "")
        return SourceRow(
            key=_key(key) or f"{self.digest[:DIGEST_CHARACTERS]}-{number:09d}",
            image=None if reason else found,
            caption=caption,
            class_id=class_id if isinstance(class_id, int) else -1,
            cluster=_key(cluster),
            reason=reason,
            notes=notes,
        )

    def _first(self, row: Values, sought: str) -> Any:
        return next((row[name] for name in self.columns[sought]), None)

    def _caption(self, row: Values) -> tuple[str, tuple[str, ...]]:
        caption = first_caption(row[name] for name in self.columns["caption"])
        return caption or "", (UNREADABLE_CAPTION,) if caption is None else ()


def open_source(
    path: Path, source: ParquetFile, classes: int | None = None, *, labels_as_found: bool = False
) -> ParquetSource:
    """`classes`, `labels_as_found`: see IngestImages.

    Raises UnreadableSource when it is no parquet file, lacks a column, has labels in words that the registration
    does not explain, or holds another number of images."""
    file = open_parquet(path, source.location)
    columns = dict(find_columns(file.names, source.columns, OF_IMAGES, source.location))
    kind = "target" if classes else _kind(file, source, columns, labels_as_found=labels_as_found)
    require_found(columns, ("image", "label" if kind == "target" else "caption"), file.names, source.location)
    if kind == "upstream":
        columns["label"] = ()
    columns["cluster"] = _cluster(file, source)
    require_count(source.location, file.count, source.images)
    return ParquetSource(kind, file, columns, _labels(file, source, columns["label"], classes), source.digest)


def _kind(file: ConfinedParquet, source: ParquetFile, columns: Columns, *, labels_as_found: bool) -> SourceKind:
    """A column of labels beside captions makes no target by itself: tables of captions have such, too."""
    if source.labels or source.classes or source.columns.label or (labels_as_found and "class_id" in file.names):
        return "target"
    return "target" if columns["label"] and not columns["caption"] else "upstream"


def _cluster(file: ConfinedParquet, source: ParquetFile) -> tuple[str, ...]:
    if not isinstance(source.cluster, ClusterColumn):
        return ()
    return (require_column(file.names, source.cluster.column, source.location),)


def _labels(file: ConfinedParquet, source: ParquetFile, columns: Sequence[str], classes: int | None) -> Labels:
    for name in columns:
        if "string" in file.types[file.names.index(name)] and not source.labels:
            detail = f"column {name} of {source.location} holds words: say in `labels` which class each one means"
            raise UnreadableSource(detail, code="labels_needed")
        return labels_of(source, class_label_names(file.huggingface, name), classes)
    return Labels({}, None)


def _key(value: object) -> str:
    """Empty for null and for what cannot be read."""
    if value is None or value is UNREADABLE:
        return ""
    return clean_key(value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value))
