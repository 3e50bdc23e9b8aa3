"""Rows of text files whose fields are delimited, as CSV: an unclosed quote costs no other row its fields."""

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

MOST_LINE = 131_072
"""Characters of a line, as many as Python reads of a field; the rest of the line is left out."""
MOST_LINES = 100
"""Of one row, whose fields may hold line ends."""
MALFORMED_ROW, UNREADABLE_ROW = "malformed_row", "unreadable_row"
"""What was read stands in a row that is not well-formed, such as one with an unclosed quote; a row cannot be read."""


@dataclass(frozen=True)
class Dialect:
    delimiter: str
    spaced: bool
    """Whether a blank stands behind each delimiter, before any quote."""

    def parsed(self, line: str) -> list[str]:
        """A line by itself, whatever its quotes."""
        try:
            return next(csv.reader([line.rstrip("\r\n")], delimiter=self.delimiter, skipinitialspace=self.spaced), [])
        except csv.Error:
            return []

    def joined(self, fields: Sequence[str]) -> str:
        """A text that holds delimiters which nobody has quoted."""
        return f"{self.delimiter}{' ' * self.spaced}".join(fields)


@dataclass(frozen=True)
class Record:
    number: int
    """Of its first line."""
    line: str
    fields: list[str] | None
    """None where the row is not well-formed: then `line` is all of it."""


def lines(text: io.TextIOWrapper) -> Iterator[str]:
    """With their ends; of a line of more than MOST_LINE characters the first ones."""
    while line := text.readline(MOST_LINE):
        rest = line
        while rest and not rest.endswith(("\n", "\r")):
            rest = text.readline(MOST_LINE)
        yield line


def records(
    rows: Iterator[str], dialect: Dialect, begins: Callable[[str], bool], first: int, *, may_end_alike: bool
) -> Iterator[Record]:
    """`rows`: lines, from the one with the number `first`. A row goes on over several lines only where it is
    well-formed as a whole and no other row begins in between: else a quote was not closed, and its line is a row by
    itself.

    `begins`: whether a row seems to stand in a line alone. `may_end_alike`: whether the last line of a longer row may
    look so, because its name or address stands behind the text that holds line ends."""
    number, ahead = first, deque[str]()
    while True:
        while len(ahead) < MOST_LINES and (line := next(rows, "")):
            ahead.append(line)
        if not ahead:
            return
        fields, used = _well_formed(ahead, dialect, begins, may_end_alike)
        yield Record(number, ahead[0], fields)
        for _ in range(used):
            ahead.popleft()
        number += used


def _well_formed(
    ahead: deque[str], dialect: Dialect, begins: Callable[[str], bool], may_end_alike: bool
) -> tuple[list[str] | None, int]:
    """(fields, lines) of the row that begins there, or no fields and one line."""
    reader = csv.reader(iter(ahead), delimiter=dialect.delimiter, skipinitialspace=dialect.spaced, strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        return None, 1
    between = range(1, reader.line_num - 1 if may_end_alike else reader.line_num)
    if any(begins(ahead[line]) for line in between):
        return None, 1
    return fields or [""], reader.line_num
