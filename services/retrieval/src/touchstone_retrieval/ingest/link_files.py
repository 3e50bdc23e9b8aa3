"""Opening a table of links by the ending of its name."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from touchstone_contracts.catalogue import LinkColumns

from touchstone_retrieval.ingest.column_names import OF_LINKS, Columns, find_columns
from touchstone_retrieval.ingest.link_rows import ROWS_AT_A_TIME, LinkRow, LinkRows, Part
from touchstone_retrieval.ingest.link_text import TEXT_ENDINGS, open_text
from touchstone_retrieval.ingest.parquet_reading import ConfinedParquet, Lost, column_values, open_parquet

PARQUET_ENDING = ".parquet"


def open_links(path: Path, location: str, said: LinkColumns) -> LinkRows:
    """Raises UnreadableSource when it cannot be read or lacks a column that `said` names."""
    if is_text(location):
        return open_text(path, location, said)
    file = open_parquet(path, location)
    return _ParquetRows(file, find_columns(file.names, said, OF_LINKS, location))


def is_text(location: str) -> bool:
    return location.lower().endswith(TEXT_ENDINGS)


@dataclass(frozen=True)
class _ParquetRows:
    file: ConfinedParquet
    columns: Columns

    @property
    def names(self) -> tuple[str, ...]:
        return self.file.names

    @property
    def count(self) -> int:
        return self.file.count

    def parts(self, sought: Collection[str] = tuple(OF_LINKS)) -> Iterator[Part]:
        names = list(dict.fromkeys(name for each in sought for name in self.columns[each]))
        for part in self.file.batches(names, ROWS_AT_A_TIME):
            if isinstance(part, Lost):
                yield part
            else:
                values = zip(*(column_values(part, name) for name in names), strict=True)
                yield [LinkRow(dict(zip(names, row, strict=True))) for row in values]
