"""LAION-style metadata as an image set without bytes: row i stays row i, or embeddings would describe other images."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.identity import sha256
from touchstone_runtime.image_sets import SCHEMA, ImageRecord
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.ingest.captions import clean_caption
from touchstone_retrieval.ingest.source import UnreadableSource, require_count

ROWS_AT_A_TIME = 10_000
NSFW = "nsfw"
"""Why a row is not kept: its tag is exactly "NSFW"; "UNLIKELY" and "UNSURE" stay (paper section 1.3)."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WANTED = ("url", "caption", "text", "sha256", "nsfw", "width", "height")


def read_links(path: Path, table: LinkTable, progress: ProgressFunction = no_progress) -> pa.Table:
    """image_sets.SCHEMA, a row per row of the file. Raises UnreadableSource when it is damaged, lacks url or caption,
    or has another number of rows."""
    try:
        file = pq.ParquetFile(path)
        columns = {name.lower(): name for name in file.schema_arrow.names if name.lower() in _WANTED}
        _require_columns(columns, table.location)
        require_count(table.location, file.metadata.num_rows, table.images)
        batches = list(_manifest_batches(file, columns, progress))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UnreadableSource(f"{table.location} cannot be read as parquet: {error}") from error
    return pa.Table.from_batches(batches, SCHEMA)


def _require_columns(columns: Mapping[str, str], place: str) -> None:
    if "url" not in columns or not {"caption", "text"} & set(columns):
        raise UnreadableSource(f"{place} needs the columns url and caption (or text)", code="missing_columns")


def _manifest_batches(
    file: pq.ParquetFile, columns: Mapping[str, str], progress: ProgressFunction
) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=list(columns.values())):
        found = batch.select(list(columns.values())).rename_columns(list(columns)).to_pylist()
        yield pa.RecordBatch.from_pylist([_manifest_row(row) for row in found], SCHEMA)
        done += len(found)
        progress(done, file.metadata.num_rows)


def _manifest_row(row: Mapping[str, Any]) -> dict[str, Any]:
    url = str(row["url"] or "")
    unsafe = str(row.get("nsfw")) == "NSFW"
    record = ImageRecord(
        width=_pixels(row.get("width")),
        height=_pixels(row.get("height")),
        source_kind="upstream",
        source_key=url,
        caption=clean_caption(row["caption"] if "caption" in row else row["text"]),
        kept=not unsafe,
        drop_reason=NSFW if unsafe else "",
    )
    return asdict(record) | {"id": link_id(url, row.get("sha256")), "shard": "", "offset": -1, "length": 0}


def link_id(url: str, stated: object = None) -> str:
    """The sha256 of the bytes as the table states it; else, until they are there, that of the URL."""
    text = str(stated).lower()
    return text if _SHA256.fullmatch(text) else sha256(url.encode())


def _pixels(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
