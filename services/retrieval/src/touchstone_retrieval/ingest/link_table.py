"""LAION-style metadata as an image set without bytes: row i stays row i, or embeddings would describe other images."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.account import Account, Named, joined
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.identity import sha256
from touchstone_contracts.takedowns import TakenDown
from touchstone_runtime.image_sets import BLANK_ID, SCHEMA, TAKEN_DOWN, ImageRecord
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.ingest.captions import UNREADABLE_CAPTION, first_caption
from touchstone_retrieval.ingest.column_names import Columns, require_found
from touchstone_retrieval.ingest.link_files import open_links
from touchstone_retrieval.ingest.link_rows import LinkRow, LinkRows, Part
from touchstone_retrieval.ingest.parquet_reading import UNREADABLE, Lost
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.safety import refused_as_unsafe
from touchstone_retrieval.ingest.source import clean_key, require_count
from touchstone_retrieval.ingest.tally import Tally

MOST_URL_CHARACTERS = 4096
MISSING_URL, BAD_URL = "missing_url", "bad_url"
NOT_LISTED = "not_listed"
"""Why a row is left out that a list of uids does not name."""
NOTHING = TakenDown()
Described = tuple[dict[str, Any], tuple[str, ...]]
"""The record of a link, and what is to be noted of it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_links(
    path: Path,
    table: LinkTable,
    progress: ProgressFunction = no_progress,
    taken_down: TakenDown = NOTHING,
    listed: np.ndarray | None = None,
) -> tuple[pa.Table, Account]:
    """image_sets.SCHEMA, a row per row of the file, and what became of each; an empty row, which is not kept, of what
    was taken down, cannot be read or is not among the `listed` rows, bool (rows,): the last are no part of the
    upstream, and the account only counts them.

    Raises UnreadableSource when it cannot be read, lacks a column, or has another number of rows."""
    file = open_table(path, table)
    rows, tally, batches = _Rows(table.most_unsafe, file.columns, taken_down), Tally(), list[pa.RecordBatch]()
    done = absent = 0
    for part in file.parts():
        found = _described(part, rows)
        for number, (record, notes) in enumerate(found, done):
            if listed is not None and not listed[number]:
                found[number - done] = _dropped(NOT_LISTED), ()
                absent += 1
            else:
                tally.add(record["source_key"] or f"row {number}", record["drop_reason"], notes)
        batches.append(pa.RecordBatch.from_pylist([record for record, _ in found], SCHEMA))
        done += len(found)
        progress(done, file.count)
    others = Account(notes={NOT_LISTED: Named(count=absent)} if absent else {})
    return pa.Table.from_batches(batches, SCHEMA), joined((tally.account(Reasons()), others))


def open_table(path: Path, table: LinkTable) -> LinkRows:
    """Raises UnreadableSource when it is not what was registered."""
    file = open_links(path, table.location, table.columns)
    require_columns(file, table.location, unsafe=table.most_unsafe is not None, uid=table.uids is not None)
    require_count(table.location, file.count, table.images)
    return file


def require_columns(file: LinkRows, location: str, *, unsafe: bool, uid: bool) -> None:
    """Raises UnreadableSource where no column holds what is needed."""
    needed = ("url", "caption", *(["unsafe"] if unsafe else []), *(["uid"] if uid else []))
    require_found(file.columns, needed, file.names, location)


def _described(part: Part, rows: "_Rows") -> list[Described]:
    if isinstance(part, Lost):
        return [(_dropped(part.reason), ())] * part.num_rows
    return [rows.row(row) for row in part]


def _dropped(reason: str) -> dict[str, Any]:
    """A row of which nothing is told."""
    blank = ImageRecord(width=0, height=0, source_kind="upstream", source_key="", kept=False, drop_reason=reason)
    return asdict(blank) | {"id": BLANK_ID, "shard": "", "offset": -1, "length": 0}


class _Rows:
    def __init__(self, most_unsafe: float | None, columns: Columns, taken_down: TakenDown) -> None:
        self._most_unsafe, self._columns, self._taken_down = most_unsafe, columns, taken_down

    def row(self, row: LinkRow) -> Described:
        found = {sought: [row.values[name] for name in names] for sought, names in self._columns.items()}
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
        not_stored = {"id": link_id(url, stated), "shard": "", "offset": -1, "length": 0}
        return asdict(record) | not_stored, (*row.notes, *((UNREADABLE_CAPTION,) if caption is None else ()))


def belonging(manifest: pa.Table) -> np.ndarray:
    """bool (rows,): which rows belong to the upstream, where a list of uids says it; else all."""
    outside: np.ndarray = pc.equal(manifest["drop_reason"], NOT_LISTED).to_numpy(zero_copy_only=False)
    return ~outside


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
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(2**31)):
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
