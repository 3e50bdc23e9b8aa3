"""LAION-style metadata as an image set without bytes: row i stays row i, or embeddings would describe other images."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from touchstone_contracts.account import Account
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.identity import sha256
from touchstone_contracts.takedowns import TakenDown
from touchstone_runtime.image_sets import BLANK_ID, SCHEMA, TAKEN_DOWN, ImageRecord
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.ingest.captions import UNREADABLE_CAPTION, first_caption
from touchstone_retrieval.ingest.column_names import OF_LINKS, Columns, find_columns, require_found
from touchstone_retrieval.ingest.parquet_reading import UNREADABLE, Lost, column_values, open_parquet
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.safety import refused_as_unsafe
from touchstone_retrieval.ingest.source import clean_key, require_count
from touchstone_retrieval.ingest.tally import Tally

ROWS_AT_A_TIME = 10_000
MOST_URL_CHARACTERS = 4096
MISSING_URL, BAD_URL = "missing_url", "bad_url"
NOTHING = TakenDown()
Described = tuple[dict[str, Any], tuple[str, ...]]
"""The record of a link, and what is to be noted of it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_links(
    path: Path, table: LinkTable, progress: ProgressFunction = no_progress, taken_down: TakenDown = NOTHING
) -> tuple[pa.Table, Account]:
    """image_sets.SCHEMA, a row per row of the file, and what became of each; an empty row, which is not kept, of what
    was taken down or cannot be read.

    Raises UnreadableSource when it is no parquet file, lacks a column, or has another number of rows."""
    file = open_parquet(path, table.location)
    columns = find_columns(file.names, table.columns, OF_LINKS, table.location)
    needed = ("url", "caption") if table.most_unsafe is None else ("url", "caption", "unsafe")
    require_found(columns, needed, file.names, table.location)
    require_count(table.location, file.count, table.images)
    rows, tally, batches = _Rows(table.most_unsafe, columns, taken_down), Tally(), list[pa.RecordBatch]()
    for part in file.batches(rows.names, ROWS_AT_A_TIME):
        if isinstance(part, Lost):
            found: list[Described] = [(_dropped(part.reason), ())] * part.num_rows
        else:
            found = [rows.row(row) for row in _values(part, rows.names)]
        for record, notes in found:
            tally.add(record["source_key"], record["drop_reason"], notes)
        batches.append(pa.RecordBatch.from_pylist([record for record, _ in found], SCHEMA))
        progress(tally.seen, file.count)
    return pa.Table.from_batches(batches, SCHEMA), tally.account(Reasons())


def _values(batch: pa.RecordBatch, names: list[str]) -> Iterator[dict[str, Any]]:
    values = zip(*(column_values(batch, name) for name in names), strict=True)
    return (dict(zip(names, row, strict=True)) for row in values)


def _dropped(reason: str) -> dict[str, Any]:
    """A row of which nothing is told."""
    blank = ImageRecord(width=0, height=0, source_kind="upstream", source_key="", kept=False, drop_reason=reason)
    return asdict(blank) | {"id": BLANK_ID, "shard": "", "offset": -1, "length": 0}


class _Rows:
    def __init__(self, most_unsafe: float | None, columns: Columns, taken_down: TakenDown) -> None:
        self._most_unsafe, self._columns, self._taken_down = most_unsafe, columns, taken_down
        self.names = list(dict.fromkeys(name for names in columns.values() for name in names))

    def row(self, row: Mapping[str, Any]) -> Described:
        found = {sought: [row[name] for name in names] for sought, names in self._columns.items()}
        if any(value is UNREADABLE for sought in ("url", "sha256") for value in found[sought]):
            return _dropped("unreadable_value"), ()
        url = _text(_first(found["url"]))
        if not url or len(url) > MOST_URL_CHARACTERS:
            return _dropped(BAD_URL if url else MISSING_URL), ()
        url, stated = clean_key(url), _first(found["sha256"])
        if self._taken_down.covers(link_id(url, stated), url):
            return _dropped(TAKEN_DOWN), ()
        reason = refused_as_unsafe(found["unsafe"], self._most_unsafe)
        caption = first_caption(found["caption"])
        record = ImageRecord(
            width=_pixels(_first(found["width"])),
            height=_pixels(_first(found["height"])),
            source_kind="upstream",
            source_key=url,
            caption=caption or "",
            kept=not reason,
            drop_reason=reason,
        )
        place = {"id": link_id(url, stated), "shard": "", "offset": -1, "length": 0}
        return asdict(record) | place, (UNREADABLE_CAPTION,) if caption is None else ()


def _first(values: list[Any]) -> Any:
    return values[0] if values else None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape").strip()
    return "" if value is None else str(value).strip()


def link_id(url: str, stated: object = None) -> str:
    """The sha256 of the bytes as the table states it; else, until they are there, that of the URL."""
    text = str(stated).lower()
    return text if _SHA256.fullmatch(text) else sha256(url.encode())


def _pixels(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
