"""The rows of a table of links, whatever kind of file holds them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from touchstone_retrieval.ingest.column_names import OF_LINKS, Columns
from touchstone_retrieval.ingest.parquet_reading import Lost

ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True)
class LinkRow:
    values: Mapping[str, Any]
    """By column."""
    notes: tuple[str, ...] = ()
    """What is to be noted of how it was read."""


Part = Lost | Sequence[LinkRow]


class LinkRows(Protocol):
    """An opened table. The same file, with the same columns named, always has the same rows in the same order."""

    @property
    def names(self) -> Sequence[str]:
        """Of its columns."""

    @property
    def count(self) -> int: ...

    @property
    def columns(self) -> Columns:
        """Which hold what; see column_names.OF_LINKS."""

    def parts(self, sought: Collection[str] = tuple(OF_LINKS)) -> Iterator[Part]:
        """All rows, in the order of the file, with the columns that hold what is sought."""
