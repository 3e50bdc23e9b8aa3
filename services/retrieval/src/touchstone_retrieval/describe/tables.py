"""Describing parquet files: which columns hold what, and what the labels of a target split mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError
from touchstone_contracts.catalogue import ImageColumns, LinkColumns, ParquetFile
from touchstone_contracts.class_lists import ClassLine
from touchstone_contracts.problems import Invalid
from touchstone_contracts.values import Digest
from touchstone_runtime.digests import file_digest

from touchstone_retrieval.describe.class_folders import require_named_once
from touchstone_retrieval.ingest.column_names import OF_IMAGES, find_columns, require_found, shown
from touchstone_retrieval.ingest.labels import class_label_names, plain_label
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.parquet_reading import ConfinedParquet, open_parquet

ColumnsT = TypeVar("ColumnsT", ImageColumns, LinkColumns)


class EmptyShard(Invalid):
    code = "empty_shard"
    title = "Nothing in a shard"


def some(location: str, images: int) -> int:
    if images == 0:
        raise EmptyShard(f"{location} holds no image")
    return images


def named_columns(given: Sequence[str]) -> dict[str, str]:
    """What a column holds -> its name, from `image=img`, ...; raises Invalid at what is no such pair."""
    pairs = [each.partition("=") for each in given]
    if wrong := next((each for each, (_, sign, name) in zip(given, pairs, strict=True) if not sign or not name), None):
        raise Invalid(f"{wrong!r} is no column: write what it holds and its name, image=img", code="bad_column")
    return {sought: name for sought, _, name in pairs}


def columns_of(kind: type[ColumnsT], named: Mapping[str, str]) -> ColumnsT:
    """`named`: see named_columns. Raises Invalid at what no column of the kind holds."""
    try:
        return kind.model_validate(named)
    except ValidationError as error:
        known = ", ".join(kind.model_fields)
        raise Invalid(
            f"these files have columns for {known}, and none for {error.errors()[0]['loc'][0]}", code="bad_column"
        ) from error


def describe_parquet(location: str, reader: LocationReader, columns: ImageColumns) -> ParquetFile:
    """Of an upstream. Raises UnreadableSource when a column is missing, EmptyShard when it holds no row."""
    file, digest = opened_parquet(location, reader)
    rows = some(location, file.count)
    require_found(find_columns(file.names, columns, OF_IMAGES, location), ("image", "caption"), file.names, location)
    return ParquetFile(location=location, digest=digest, images=rows, columns=columns)


@dataclass(frozen=True)
class LabelledTable:
    """A parquet file of labelled images that has been looked into."""

    location: str
    file: ConfinedParquet
    digest: Digest
    columns: ImageColumns
    label: str
    """The column that holds the labels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What Hugging Face's library wrote into the file, which may be nothing."""
        return class_label_names(self.file.huggingface, self.label)

    def described(self, lines: Sequence[ClassLine]) -> ParquetFile:
        """Where its labels are words or stand for some, the folders of `lines` say which is which class; where they are
        numbers, these are the class ids. Raises Invalid when the file names its classes otherwise."""
        found = ParquetFile(location=self.location, digest=self.digest, images=self.file.count, columns=self.columns)
        if not lines:
            return found
        if not _in_words(self, lines):
            return found.model_copy(update={"classes": len(lines)})
        require_named_once([line.folder for line in lines])
        return found.model_copy(update={"labels": tuple(line.folder for line in lines)})


def open_labelled(location: str, columns: ImageColumns, reader: LocationReader) -> LabelledTable:
    """Raises UnreadableSource when a column is missing, EmptyShard when it holds no row."""
    file, digest = opened_parquet(location, reader)
    some(location, file.count)
    found = find_columns(file.names, columns, OF_IMAGES, location)
    require_found(found, ("image", "label"), file.names, location)
    return LabelledTable(location, file, digest, columns, found["label"][0])


def opened_parquet(location: str, reader: LocationReader) -> tuple[ConfinedParquet, Digest]:
    """Fetched once, which for a file that lies elsewhere takes longest."""
    with reader.file(location) as path:
        return open_parquet(path, location), file_digest(path)


def _in_words(table: LabelledTable, lines: Sequence[ClassLine]) -> bool:
    names = table.class_names
    if not names:
        return "string" in table.file.types[table.file.names.index(table.label)]
    known = {plain_label(name) for name in names}
    if unknown := [line.folder for line in lines if plain_label(line.folder) not in known]:
        raise Invalid(
            f"{table.location} has no class {unknown[0]!r} (nor {len(unknown) - 1} more of the list); it calls its "
            f"classes {shown(names)}: begin each line of the list with such a name, then a tab and the name to show",
            code="unknown_class",
        )
    return True
