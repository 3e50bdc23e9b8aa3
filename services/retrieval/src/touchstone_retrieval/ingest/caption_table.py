"""Captions of a folder's images from the table beside them: `metadata.csv`, or `metadata.jsonl` as Hugging Face's
ImageFolder has it. A row that cannot be read costs no other row its caption."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from touchstone_runtime.beneath import read_beneath

from touchstone_retrieval.ingest.captions import (
    CAPTION_NAMES,
    UNREADABLE_CAPTION,
    caption_in,
    clean_caption,
    composed,
)
from touchstone_retrieval.ingest.delimited import MALFORMED_ROW, UNREADABLE_ROW, Dialect, lines, records
from touchstone_retrieval.ingest.json_lines import json_lines
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_retrieval.ingest.tar_samples import PICTURES

CSV, JSON_LINES = "metadata.csv", "metadata.jsonl"
NAME = "file_name"
MOST_TABLE_BYTES = 256 * 2**20
"""Of a table of captions, which is held in memory."""
DELIMITERS = ",;\t"

REPEATED_ROW, NO_SUCH_IMAGE = "repeated_row", "caption_without_image"
"""Notes: a later row for the same image is left out; a row names no image that is there."""


@dataclass(frozen=True)
class Row:
    number: int
    """Of its first line, from 1."""
    name: str
    caption: str | None
    """None where the value given for it is no text."""
    malformed: bool = False


@dataclass(frozen=True)
class CaptionTable:
    captions: dict[str, str] = field(default_factory=dict)
    """File name -> caption."""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """File name -> what is to be noted of its rows."""
    unused: Reasons = field(default_factory=Reasons)


def read_captions(folder: Path, names: Iterable[str], location: str) -> CaptionTable:
    """Of both tables, the CSV first; empty where there is none. The first row for an image counts. A name is also found
    in another Unicode form. Raises UnreadableSource when a table is too large or lacks a column."""
    table, files = CaptionTable(), _Files(names)
    for row in _rows(folder, location, table.unused):
        name = files.find(row.name)
        if name is None:
            table.unused.add(NO_SUCH_IMAGE, row.name)
        elif name in table.captions:
            _note(table, name, REPEATED_ROW)
        else:
            table.captions[name] = row.caption or ""
            if row.caption is None or row.malformed:
                _note(table, name, UNREADABLE_CAPTION if row.caption is None else MALFORMED_ROW)
    return table


class _Files:
    """Names of files by the names that a table gives them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_form = {composed(name): name for name in sorted(self._names, reverse=True)}

    def find(self, name: str) -> str | None:
        plain = composed(name.strip().removeprefix("./"))
        return name if name in self._names else self._by_form.get(plain)


def _note(table: CaptionTable, name: str, note: str) -> None:
    table.notes[name] = tuple(dict.fromkeys((*table.notes.get(name, ()), note)))


def _rows(folder: Path, location: str, unused: Reasons) -> Iterator[Row]:
    for name, rows_of in ((CSV, _rows_of_csv), (JSON_LINES, _rows_of_json_lines)):
        if (folder / name).is_file():
            data = read_beneath(folder, PurePath(name), MOST_TABLE_BYTES + 1)
            if len(data) > MOST_TABLE_BYTES:
                detail = f"{name} of {location} has more than {MOST_TABLE_BYTES:,} bytes"
                raise UnreadableSource(detail, code="too_many_bytes")
            yield from rows_of(data, f"{name} of {location}", unused)


def _rows_of_json_lines(data: bytes, table: str, unused: Reasons) -> Iterator[Row]:
    for number, said in json_lines(io.BytesIO(data)):
        name = None if said is None else said.get(NAME)
        if isinstance(name, str):
            yield Row(number, name, caption_in(said))
        else:
            unused.add(UNREADABLE_ROW, f"line {number} of {table}")


def _rows_of_csv(data: bytes, table: str, unused: Reasons) -> Iterator[Row]:
    text = lines(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="replace", newline=""))
    columns = _columns(next(text, ""), table)
    caption_first = columns.name > min(columns.captions)
    for record in records(text, columns.dialect, columns.begins, 2, may_end_alike=caption_first):
        fields = columns.dialect.parsed(record.line) if record.fields is None else record.fields
        if not any(fields):
            continue
        if not any(fields[columns.count :]):
            fields = fields[: columns.count]
        if len(fields) <= columns.name or not fields[columns.name].strip():
            unused.add(UNREADABLE_ROW, f"line {record.number} of {table}")
            continue
        captions = [clean_caption(text) for text in columns.captions_of(fields)]
        caption = next((text for text in captions if text), "")
        malformed = record.fields is None or len(fields) > columns.count
        yield Row(record.number, fields[columns.name], caption, malformed)


@dataclass(frozen=True)
class _Columns:
    dialect: Dialect
    count: int
    name: int
    captions: Sequence[int]
    """The preferred one first."""

    def captions_of(self, fields: Sequence[str]) -> list[str]:
        """A caption in the last column may hold delimiters that nobody has quoted."""
        ends = [len(fields) if column == self.count - 1 else column + 1 for column in self.captions]
        parts = zip(self.captions, ends, strict=True)
        return [self.dialect.joined(fields[start:end]) for start, end in parts]

    def begins(self, line: str) -> bool:
        """Whether a row for an image seems to stand in this line alone."""
        fields = self.dialect.parsed(line)
        return len(fields) >= self.count and fields[self.name].lower().strip().endswith(_ENDINGS)


_ENDINGS = tuple(f".{ending}" for ending in PICTURES)


def _columns(header: str, table: str) -> _Columns:
    """By name, in any order, among any others; raises UnreadableSource where they are not there."""
    for delimiter in DELIMITERS:
        dialect = Dialect(delimiter, f"{delimiter} " in header)
        names = [name.strip().lower() for name in dialect.parsed(header)]
        captions = [names.index(name) for name in CAPTION_NAMES if name in names]
        if NAME in names and captions:
            return _Columns(dialect, len(names), names.index(NAME), captions)
    detail = f"{table} needs the columns {NAME} and {' or '.join(CAPTION_NAMES)}; is it UTF-8?"
    raise UnreadableSource(detail, code="missing_columns")
