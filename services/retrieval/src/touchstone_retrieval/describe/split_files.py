"""From the parquet files or tar shards of splits to what is registered of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from touchstone_contracts.catalogue import (
    MOST_FILES,
    ImageColumns,
    ParquetFile,
    SourceFiles,
    TargetSplit,
    TarShard,
    repeated_file,
)
from touchstone_contracts.class_lists import ClassLine
from touchstone_contracts.problems import Invalid
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.describe.shards import Tell, describe_tar
from touchstone_retrieval.describe.tables import EmptyShard, LabelledTable, open_labelled
from touchstone_retrieval.ingest.column_names import shown
from touchstone_retrieval.ingest.location_reader import LocationReader

LocationsOfSplits = Mapping[str, Sequence[str]]
"""Split -> the locations of its files, in the order in which they are read."""


def describe_files(
    layout: str,
    splits: LocationsOfSplits,
    lines: Sequence[ClassLine],
    columns: ImageColumns,
    reader: LocationReader,
    tell: Tell,
    progress: ProgressFunction = no_progress,
) -> tuple[dict[str, TargetSplit], Sequence[str]]:
    """Splits by name, and what their classes are called: as `lines` say, or where there are none as the parquet files
    do, which may be nothing. Files without an image are left out and told.

    Raises EmptyShard where no file of a split has an image, Invalid where a split has too many files, holds one twice,
    or where files name other classes than each other; else as `describe_tar` and `open_labelled` do."""
    files = _Files(layout, lines, columns, reader, tell)
    described, done, total = dict[str, TargetSplit](), 0, sum(map(len, splits.values()))
    for split, named in splits.items():
        _require_few(split, named)
        found = list[ParquetFile | TarShard]()
        for location in named:
            progress(done, total)
            done += 1
            found += files.describe(location)
        described[split] = _as_one(split, named, found)
    return described, files.class_names


@dataclass
class _Files:
    layout: str
    lines: Sequence[ClassLine]
    columns: ImageColumns
    reader: LocationReader
    tell: Tell
    _first: LabelledTable | None = None
    """With whose classes those of further files are compared."""

    @property
    def class_names(self) -> Sequence[str]:
        if self.lines or self._first is None:
            return [line.display_name for line in self.lines]
        return self._first.class_names

    def describe(self, location: str) -> Sequence[ParquetFile | TarShard]:
        """One, or none where it holds no image."""
        try:
            return [
                describe_tar(location, self.reader, self.tell) if self.layout == "webdataset" else self._table(location)
            ]
        except EmptyShard as problem:
            self.tell(f"left out: {problem.detail}")
            return []

    def _table(self, location: str) -> ParquetFile:
        table = open_labelled(location, self.columns, self.reader)
        if table.class_names or not self.lines:  # a list says what the numbers of a file without names mean
            self._first = self._first or table
            _require_same_classes(self._first, table)
        return table.described(self.lines or [ClassLine(name, name) for name in self.class_names])


def _require_same_classes(first: LabelledTable, other: LabelledTable) -> None:
    """In any order: labels are read by their names."""
    if sorted(first.class_names) == sorted(other.class_names):
        return
    only_first = sorted(set(first.class_names) - set(other.class_names))
    only_other = sorted(set(other.class_names) - set(first.class_names))
    differing = "; ".join(
        f"only {table.location} has {shown(names)}"
        for table, names in ((first, only_first), (other, only_other))
        if names
    )
    raise Invalid(
        f"{first.location} and {other.location} name other classes: {differing or 'one of them is named twice'}. "
        "All files of a target must name the same ones",
        code="other_classes",
    )


def _require_few(split: str, files: Sequence[str]) -> None:
    if len(files) > MOST_FILES:
        detail = f"{_called(split)} has {len(files):,} files, and {MOST_FILES:,} are the most: merge some"
        raise Invalid(detail, code="too_many_shards")


def _as_one(split: str, named: Sequence[str], found: Sequence[ParquetFile | TarShard]) -> TargetSplit:
    if not found:
        held = f"{named[0]} holds" if len(named) == 1 else f"the {len(named)} files of {_called(split)} hold"
        raise EmptyShard(f"{held} no image")
    if repeated := repeated_file(found):
        detail = "{} and {} hold the same bytes: leave one of them out".format(*repeated)
        raise Invalid(f"{_called(split)}: {detail}", code="repeated_file")
    return found[0] if len(found) == 1 else SourceFiles(files=tuple(found))


def _called(split: str) -> str:
    return f"split {split}" if split else "the data set"
