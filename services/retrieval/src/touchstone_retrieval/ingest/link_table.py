"""LAION-style metadata as an image set without bytes: row i stays row i, or embeddings would describe other images."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.identity import sha256
from touchstone_contracts.takedowns import TakenDown
from touchstone_runtime.image_sets import BLANK_ID, SCHEMA, TAKEN_DOWN, ImageRecord
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.ingest.captions import clean_caption
from touchstone_retrieval.ingest.parquet_reading import (
    UNREADABLE,
    ConfinedParquet,
    Lost,
    column_values,
    open_parquet,
)
from touchstone_retrieval.ingest.source import UnreadableSource, clean_key, require_count

ROWS_AT_A_TIME = 10_000
MOST_URL_CHARACTERS = 4096
NSFW = "nsfw"
"""Why a row is not kept: its tag is exactly "NSFW"; "UNLIKELY" and "UNSURE" stay (paper section 1.3)."""
NOTHING = TakenDown()
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WANTED = ("url", "caption", "text", "sha256", "nsfw", "width", "height")


def read_links(
    path: Path, table: LinkTable, progress: ProgressFunction = no_progress, taken_down: TakenDown = NOTHING
) -> pa.Table:
    """image_sets.SCHEMA, a row per row of the file; an empty one, which is not kept, of what was taken down or cannot
    be read. Raises UnreadableSource when it is no parquet file, lacks url or caption, or has another number of rows."""
    file = open_parquet(path, table.location)
    columns = {name.lower(): name for name in file.names if name.lower() in _WANTED}
    _require_columns(columns, table.location)
    require_count(table.location, file.count, table.images)
    return pa.Table.from_batches(_manifest_batches(file, columns, progress, taken_down), SCHEMA)


def _require_columns(columns: Mapping[str, str], place: str) -> None:
    if "url" not in columns or not {"caption", "text"} & set(columns):
        raise UnreadableSource(f"{place} needs the columns url and caption (or text)", code="missing_columns")


def _manifest_batches(
    file: ConfinedParquet, columns: Mapping[str, str], progress: ProgressFunction, taken_down: TakenDown
) -> Iterator[pa.RecordBatch]:
    done = 0
    for part in file.batches(list(columns.values()), ROWS_AT_A_TIME):
        if isinstance(part, Lost):
            rows, count = [_dropped(part.reason)] * part.num_rows, part.num_rows
        else:
            rows, count = [_manifest_row(row, taken_down) for row in _rows(part, columns)], part.num_rows
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)
        done += count
        progress(done, file.count)


def _rows(batch: pa.RecordBatch, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    values = zip(*(column_values(batch, name) for name in columns.values()), strict=True)
    return (dict(zip(columns, row, strict=True)) for row in values)


def _dropped(reason: str) -> dict[str, Any]:
    """A row of which nothing is told."""
    blank = ImageRecord(width=0, height=0, source_kind="upstream", source_key="", kept=False, drop_reason=reason)
    return asdict(blank) | {"id": BLANK_ID, "shard": "", "offset": -1, "length": 0}


def _manifest_row(row: Mapping[str, Any], taken_down: TakenDown) -> dict[str, Any]:
    if any(value is UNREADABLE for value in row.values()):
        return _dropped("unreadable_value")
    url = str(row["url"] or "")
    if len(url) > MOST_URL_CHARACTERS:
        return _dropped("bad_url")
    url = clean_key(url)
    if taken_down.covers(link_id(url, row.get("sha256")), url):
        return _dropped(TAKEN_DOWN)
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
