"""Tables of links as text: CSV and TSV, with a header or without one, and JSON lines.

Published tables are not always well-formed: captions hold quotes and delimiters that nobody has quoted, bytes in other
encodings, and line ends. A row that cannot be read is lost alone."""

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from touchstone_contracts.catalogue import LinkColumns

from touchstone_retrieval.ingest.column_names import OF_LINKS, Columns, find_columns
from touchstone_retrieval.ingest.delimited import (
    MALFORMED_ROW,
    UNREADABLE_ROW,
    Dialect,
    Record,
    lines,
    records,
)
from touchstone_retrieval.ingest.json_lines import json_lines
from touchstone_retrieval.ingest.link_rows import ROWS_AT_A_TIME, LinkRow, Part
from touchstone_retrieval.ingest.parquet_reading import MOST_ROWS, Lost
from touchstone_retrieval.ingest.source import UnreadableSource

DELIMITED, JSON_LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
PACKED = ".gz"
TEXT_ENDINGS = tuple(f"{ending}{packed}" for ending in (*DELIMITED, *JSON_LINES) for packed in ("", PACKED))
DELIMITERS = "\t,;|"
SAMPLE = 100
"""Lines by which a file is recognised."""
_URL = re.compile(r"(?i)https?://\S+")
_WORDS = re.compile(r"[^\W\d_]\s")
_OTHER_BYTES = re.compile("[\udc80-\udcff]")
Rows = Iterator[LinkRow | Lost]


@dataclass(frozen=True)
class _TextRows:
    names: Sequence[str]
    columns: Columns
    count: int
    rows: Callable[[], Rows]

    def parts(self, sought: Collection[str] = tuple(OF_LINKS)) -> Iterator[Part]:
        batch: list[LinkRow] = []
        for row in self.rows():
            if isinstance(row, LinkRow):
                batch.append(row)
            if batch and (isinstance(row, Lost) or len(batch) == ROWS_AT_A_TIME):
                yield batch
                batch = []
            if isinstance(row, Lost):
                yield row
        if batch:
            yield batch


def open_text(path: Path, location: str, said: LinkColumns) -> _TextRows:
    """The rows are counted, for which the file is read once. Raises UnreadableSource."""
    plain = location.lower().removesuffix(PACKED)
    names, columns, rows = (_json if plain.endswith(JSON_LINES) else _delimited)(path, location, said)
    if len(set(names)) < len(names):
        raise UnreadableSource(f"{location} has two columns of one name", code="duplicate_column")
    return _TextRows(names, columns, sum(1 for _ in rows()), rows)


@contextmanager
def _opened(path: Path, location: str) -> Iterator[BinaryIO]:
    """Raises UnreadableSource where a packed file is damaged."""
    try:
        with gzip.open(path, "rb") if location.lower().endswith(PACKED) else path.open("rb") as file:
            yield file  # type: ignore[misc]  # either is read as one
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableSource(f"{location} cannot be unpacked: {error}") from error


def _most_rows(location: str) -> UnreadableSource:
    return UnreadableSource(
        f"{location} has more than {MOST_ROWS:,} lines, the most that are read", code="too_many_rows"
    )


Opened = tuple[Sequence[str], Columns, Callable[[], Rows]]


def _json(path: Path, location: str, said: LinkColumns) -> Opened:
    def objects() -> Iterator[dict[str, Any] | None]:
        with _opened(path, location) as file:
            for number, found in json_lines(file):
                if number > MOST_ROWS:
                    raise _most_rows(location)
                yield found

    names = tuple(dict.fromkeys(name for found in islice(objects(), SAMPLE) for name in found or ()))

    def rows() -> Rows:
        for found in objects():
            yield Lost(1, UNREADABLE_ROW) if found is None else LinkRow({name: found.get(name) for name in names})

    return names, find_columns(names, said, OF_LINKS, location), rows


def _delimited(path: Path, location: str, said: LinkColumns) -> Opened:
    def filled_lines() -> Iterator[str]:
        """Lines without anything are no rows, and say nothing in a caption."""
        with _opened(path, location) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            for number, line in enumerate(lines(text)):
                if number >= MOST_ROWS:
                    raise _most_rows(location)
                if line.strip("\r\n\0"):
                    yield line

    form = _recognised(list(islice(filled_lines(), SAMPLE)), said)

    def rows() -> Rows:
        text = filled_lines()
        for _ in range(form.header_lines):
            next(text, "")
        alike = form.caption is not None and form.url is not None and form.caption < form.url
        for record in records(text, form.dialect, form.begins, 1, may_end_alike=alike):
            yield form.row(record)

    return form.names, find_columns(form.names, form.said, OF_LINKS, location), rows


@dataclass(frozen=True)
class _Form:
    """How the rows of a file are to be read."""

    dialect: Dialect
    names: Sequence[str]
    said: LinkColumns
    """With what was found by content in a file without a header."""
    header_lines: int
    url: int | None = None
    """The index of its column."""
    caption: int | None = None

    def fits(self, fields: Sequence[str]) -> bool:
        """Whether they are a row, perhaps with delimiters in the caption."""
        if self.url is None:
            return False
        more = len(fields) - len(self.names)
        index = self.url + (more if self.caption is not None and self.caption < self.url else 0)
        return more >= 0 and is_url(fields[index])

    def begins(self, line: str) -> bool:
        """Whether a row seems to stand in this line alone."""
        return self.fits(self.dialect.parsed(line))

    def row(self, record: Record) -> LinkRow | Lost:
        count = len(self.names)
        fields, malformed = record.fields, record.fields is None
        if fields is None:
            # Captions in tables without quoting hold quotes.
            plain = record.line.rstrip("\r\n").split(self.dialect.delimiter)
            fields = plain if self.fits(plain) else self.dialect.parsed(record.line)
            malformed = not (fields is plain and len(plain) == count and self.dialect.delimiter == "\t")
        if not any(fields[count:]):
            fields = fields[:count]
        if more := max(0, len(fields) - count):
            index = count - 1 if self.caption is None else self.caption
            caption = self.dialect.joined(fields[index : index + more + 1])
            fields = [*fields[:index], caption, *fields[index + more + 1 :]]
        missing = count - len(fields)
        if missing and not (self.url is not None and self.url < len(fields) and is_url(fields[self.url])):
            return Lost(1, UNREADABLE_ROW)
        values = [*map(_cell, fields), *[None] * missing]
        notes = (MALFORMED_ROW,) if malformed or more or missing else ()
        return LinkRow(dict(zip(self.names, values, strict=True)), notes)


def is_url(text: str) -> bool:
    return _URL.fullmatch(text.strip()) is not None


def _cell(text: str) -> str | bytes:
    """As bytes where they are no UTF-8."""
    return text.encode("utf-8", "surrogateescape") if _OTHER_BYTES.search(text) else text


def _recognised(sample: Sequence[str], said: LinkColumns) -> _Form:
    """The form that most of the first lines have; of several the one with the shortest addresses, which may hold
    delimiters."""
    forms = [_form(delimiter, sample, said) for delimiter in DELIMITERS]

    def rank(form: _Form) -> tuple[bool, int, int, int]:
        parsed = (_fields(line, form.dialect) for line in sample[form.header_lines :])
        rows = [fields for fields in parsed if len(fields) == len(form.names) and form.fits(fields)]
        addresses = sum(len(fields[form.url or 0]) for fields in rows)
        return len(form.names) > 1, len(rows), -addresses, len(form.names)

    return max(forms, key=rank)


def _form(delimiter: str, sample: Sequence[str], said: LinkColumns) -> _Form:
    """A cell of the first row is a URL where there is no header: then columns are called by their position, from 1."""
    head = "".join(sample[:1])
    headless = any(map(is_url, _fields(head, Dialect(delimiter, spaced=False))))
    dialect = Dialect(delimiter, f'{delimiter} "' in head if headless else f"{delimiter} " in head)
    if headless:
        names, said = _by_content([_fields(line, dialect) for line in sample], said)
    else:
        names = [name.strip() or str(position) for position, name in enumerate(dialect.parsed(head), 1)]
    there = said.model_copy(update={each: None for each in OF_LINKS if getattr(said, each) not in names})
    found = find_columns(names, there, OF_LINKS, "")
    url, caption = (next(map(names.index, found[each]), None) for each in ("url", "caption"))
    return _Form(dialect, names, said, header_lines=0 if headless else 1, url=url, caption=caption)


def _fields(line: str, dialect: Dialect) -> list[str]:
    """Of a line by itself, without a look at quotes where that alone finds a URL."""
    parsed, plain = dialect.parsed(line), line.rstrip("\r\n").split(dialect.delimiter)
    return plain if any(map(is_url, plain)) and not any(map(is_url, parsed)) else parsed


def _by_content(rows: Sequence[Sequence[str]], said: LinkColumns) -> tuple[list[str], LinkColumns]:
    """As many columns as most rows have, fewer where it is even, because captions hold delimiters. One is of URLs; the
    caption is the other one, or the only one of the others that holds words."""
    counts = Counter(len(row) for row in rows if any(map(is_url, row)))
    count = max(sorted(counts), key=counts.__getitem__)
    names, whole = [str(position) for position in range(1, count + 1)], [row for row in rows if len(row) == count]
    addresses = [sum(is_url(row[index]) for row in whole) for index in range(count)]
    url = said.url or names[max(range(count), key=addresses.__getitem__)]
    others = [index for index, name in enumerate(names) if name != url]
    in_words = [index for index in others if any(_WORDS.search(row[index]) for row in whole)]
    captions = others if len(others) == 1 else in_words
    caption = names[captions[0]] if len(captions) == 1 else None
    return names, said.model_copy(update={"url": url, "caption": said.caption or caption})
