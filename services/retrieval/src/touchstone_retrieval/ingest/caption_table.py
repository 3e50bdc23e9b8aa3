"""Captions of a folder's images from the table beside them: `metadata.csv`, or `metadata.jsonl` as Hugging Face's
ImageFolder has it. A row that cannot be read costs no other row its caption."""

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePath

from touchstone_runtime.beneath import read_beneath

from touchstone_retrieval.ingest.captions import (
    CAPTION_NAMES,
    MOST_JSON_BYTES,
    UNREADABLE_CAPTION,
    caption_in,
    clean_caption,
    composed,
    parsed_json,
)
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_retrieval.ingest.tar_samples import PICTURES

CSV, JSON_LINES = "metadata.csv", "metadata.jsonl"
NAME = "file_name"
MOST_TABLE_BYTES = 256 * 2**20
"""Of a table of captions, which is held in memory."""
MOST_LINE = 131_072
"""Characters of a line of CSV, as many as Python reads of a field; the rest of the line is left out."""
MOST_LINES = 100
"""Of one row of CSV, whose captions may hold line ends."""
DELIMITERS = ",;\t"

MALFORMED_ROW, REPEATED_ROW = "malformed_row", "repeated_row"
"""Notes: the caption stands in a row that is not well-formed, such as one with an unclosed quote; a later row for the
same image is left out."""
NO_SUCH_IMAGE, UNREADABLE_ROW = "caption_without_image", "unreadable_row"


@dataclass(frozen=True)
class Row:
    number: int
    """Of its first line, from 1."""
    name: str
    caption: str | None
    """None where what stands in its place is no text."""
    malformed: bool = False


@dataclass(frozen=True)
class CaptionTable:
    captions: dict[str, str] = field(default_factory=dict)
    """File name -> caption."""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """File name -> what is to be noted of its rows."""
    unused: Reasons = field(default_factory=Reasons)


def read_captions(folder: Path, names: Iterable[str], place: str) -> CaptionTable:
    """Of both tables, the CSV first; empty where there is none. The first row for an image counts. A name is also found
    in another Unicode form. Raises UnreadableSource when a table is too large or lacks a column."""
    table, files = CaptionTable(), _Files(names)
    for row in _rows(folder, place, table.unused):
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


def _rows(folder: Path, place: str, unused: Reasons) -> Iterator[Row]:
    for name, rows_of in ((CSV, _rows_of_csv), (JSON_LINES, _rows_of_json_lines)):
        if (folder / name).is_file():
            data = read_beneath(folder, PurePath(name), MOST_TABLE_BYTES + 1)
            if len(data) > MOST_TABLE_BYTES:
                detail = f"{name} of {place} has more than {MOST_TABLE_BYTES:,} bytes"
                raise UnreadableSource(detail, code="too_many_bytes")
            yield from rows_of(data, f"{name} of {place}", unused)


def _rows_of_json_lines(data: bytes, table: str, unused: Reasons) -> Iterator[Row]:
    lines = io.BytesIO(data)
    for number in count(1):
        line = lines.readline(MOST_JSON_BYTES + 1)
        while line and not line.endswith(b"\n") and (more := lines.readline(MOST_JSON_BYTES)):
            # Of a line that is too long the beginning is kept: it is refused all the same.
            if more.endswith(b"\n"):
                break
        if not line:
            return
        if not line.strip():
            continue
        try:
            said = parsed_json(line)
        except ValueError:
            said = None
        name = said.get(NAME) if isinstance(said, dict) else None
        if isinstance(name, str):
            yield Row(number, name, caption_in(said))
        else:
            unused.add(UNREADABLE_ROW, f"line {number} of {table}")


def _rows_of_csv(data: bytes, table: str, unused: Reasons) -> Iterator[Row]:
    lines = _lines(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="replace", newline=""))
    columns = _columns(next(lines, ""), table)
    for number, fields, malformed in _records(lines, columns):
        if not any(fields):
            continue
        if not any(fields[columns.count :]):
            fields = fields[: columns.count]
        if len(fields) <= columns.name or not fields[columns.name].strip():
            unused.add(UNREADABLE_ROW, f"line {number} of {table}")
            continue
        captions = [clean_caption(text) for text in columns.captions_of(fields)]
        caption = next((text for text in captions if text), "")
        yield Row(number, fields[columns.name], caption, malformed or len(fields) > columns.count)


@dataclass(frozen=True)
class _Columns:
    delimiter: str
    spaced: bool
    """Whether a blank stands behind each delimiter, before any quote."""
    count: int
    name: int
    captions: Sequence[int]
    """The preferred one first."""

    def captions_of(self, fields: Sequence[str]) -> list[str]:
        """A caption in the last column may hold delimiters that nobody has quoted."""
        ends = [len(fields) if column == self.count - 1 else column + 1 for column in self.captions]
        return [self.delimiter.join(fields[start:end]) for start, end in zip(self.captions, ends, strict=True)]

    def begins(self, line: str) -> bool:
        """Whether a row for an image seems to stand in this line alone."""
        fields = _parsed(line, self.delimiter, self.spaced)
        return len(fields) >= self.count and fields[self.name].lower().strip().endswith(_ENDINGS)


_ENDINGS = tuple(f".{ending}" for ending in PICTURES)


def _columns(header: str, table: str) -> _Columns:
    """By name, in any order, among any others; raises UnreadableSource where they are not there."""
    for delimiter in DELIMITERS:
        spaced = f"{delimiter} " in header
        names = [name.strip().lower() for name in _parsed(header, delimiter, spaced)]
        captions = [names.index(name) for name in CAPTION_NAMES if name in names]
        if NAME in names and captions:
            return _Columns(delimiter, spaced, len(names), names.index(NAME), captions)
    detail = f"{table} needs the columns {NAME} and {' or '.join(CAPTION_NAMES)}; is it UTF-8?"
    raise UnreadableSource(detail, code="missing_columns")


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """With their ends; of a line of more than MOST_LINE characters the first ones."""
    while line := text.readline(MOST_LINE):
        rest = line
        while rest and not rest.endswith(("\n", "\r")):
            rest = text.readline(MOST_LINE)
        yield line


def _records(lines: Iterator[str], columns: _Columns) -> Iterator[tuple[int, list[str], bool]]:
    """(number of the first line, fields, whether it is malformed) of each row.

    A row goes on over several lines only where it is well-formed as a whole and no other row begins in between: else a
    quote was not closed, and its line is a row by itself."""
    number, ahead = 2, deque[str]()
    while True:
        while len(ahead) < MOST_LINES and (line := next(lines, "")):
            ahead.append(line)
        if not ahead:
            return
        fields, used = _well_formed(ahead, columns)
        yield number, fields or _parsed(ahead[0], columns.delimiter, columns.spaced), not fields
        for _ in range(used):
            ahead.popleft()
        number += used


def _well_formed(ahead: deque[str], columns: _Columns) -> tuple[list[str], int]:
    """(fields, lines) of the row that begins there, or no fields and one line."""
    reader = csv.reader(iter(ahead), delimiter=columns.delimiter, skipinitialspace=columns.spaced, strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        return [], 1
    between = range(1, reader.line_num)
    if columns.name > min(columns.captions):
        # Of a row whose caption stands before the name, the last line may look like a row.
        between = between[:-1]
    if any(columns.begins(ahead[line]) for line in between):
        return [], 1
    return fields or [""], reader.line_num


def _parsed(line: str, delimiter: str, spaced: bool) -> list[str]:
    """A line by itself, whatever its quotes."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, skipinitialspace=spaced), [])
    except csv.Error:
        return []
