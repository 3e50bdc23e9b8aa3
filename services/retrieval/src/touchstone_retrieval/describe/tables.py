"""Describing parquet files: which columns hold what, and what the labels of a target split mean."""

from collections.abc import Sequence
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
from touchstone_retrieval.ingest.parquet_reading import ConfinedParquet, open_parquet
from touchstone_retrieval.ingest.places import Places

ColumnsT = TypeVar("ColumnsT", ImageColumns, LinkColumns)


class EmptyShard(Invalid):
    code = "empty_shard"
    title = "Nothing in a shard"


def some(place: str, images: int) -> int:
    if images == 0:
        raise EmptyShard(f"{place} holds no image")
    return images


def columns_of(kind: type[ColumnsT], given: Sequence[str]) -> ColumnsT:
    """From `image=img`, ...; raises Invalid at what is no such pair."""
    pairs = [each.partition("=") for each in given]
    if wrong := next((each for each, (_, sign, name) in zip(given, pairs, strict=True) if not sign or not name), None):
        raise Invalid(f"{wrong!r} is no column: write what it holds and its name, image=img", code="bad_column")
    try:
        return kind.model_validate({sought: name for sought, _, name in pairs})
    except ValidationError as error:
        known = ", ".join(kind.model_fields)
        raise Invalid(
            f"columns hold one of {known}: {error.errors()[0]['loc'][0]} is none", code="bad_column"
        ) from error


def describe_parquet(place: str, places: Places, columns: ImageColumns) -> ParquetFile:
    """Of an upstream. Raises UnreadableSource when a column is missing, EmptyShard when it holds no row."""
    file, digest = opened_parquet(place, places)
    rows = some(place, file.count)
    require_found(find_columns(file.names, columns, OF_IMAGES, place), ("image", "caption"), file.names, place)
    return ParquetFile(location=place, digest=digest, images=rows, columns=columns)


def describe_labelled(place: str, lines: Sequence[ClassLine], columns: ImageColumns, places: Places) -> ParquetFile:
    """A target split. Where its labels are words or stand for some, the folders of `lines` say which is which class;
    where they are numbers, these are the class ids.

    Raises UnreadableSource when a column is missing, Invalid when the file names its classes otherwise."""
    file, digest = opened_parquet(place, places)
    return _labelled(place, file, digest, lines, columns)


def describe_named(place: str, names: Sequence[str], places: Places) -> tuple[ParquetFile, Sequence[str]]:
    """A target split, and what its classes are called: `names`, or where there are none what Hugging Face's library
    wrote into the file, which may be nothing. Raises as `describe_labelled`."""
    file, digest = opened_parquet(place, places)
    label = find_columns(file.names, ImageColumns(), OF_IMAGES, place)["label"]
    names = names or (class_label_names(file.huggingface, label[0]) if label else ())
    return _labelled(place, file, digest, [ClassLine(name, name) for name in names], ImageColumns()), names


def opened_parquet(place: str, places: Places) -> tuple[ConfinedParquet, Digest]:
    """Fetched once, which for a file that lies elsewhere takes longest."""
    with places.file(place) as path:
        return open_parquet(path, place), file_digest(path)


def _labelled(
    place: str, file: ConfinedParquet, digest: Digest, lines: Sequence[ClassLine], columns: ImageColumns
) -> ParquetFile:
    found = find_columns(file.names, columns, OF_IMAGES, place)
    require_found(found, ("image", "label"), file.names, place)
    (label,) = found["label"]
    described = ParquetFile(location=place, digest=digest, images=some(place, file.count), columns=columns)
    if not lines:
        return described
    if not _in_words(file, label, lines, place):
        return described.model_copy(update={"classes": len(lines)})
    require_named_once([line.folder for line in lines])
    return described.model_copy(update={"labels": tuple(line.folder for line in lines)})


def _in_words(file: ConfinedParquet, label: str, lines: Sequence[ClassLine], place: str) -> bool:
    names = class_label_names(file.huggingface, label)
    if not names:
        return "string" in file.types[file.names.index(label)]
    known = {plain_label(name) for name in names}
    if unknown := [line.folder for line in lines if plain_label(line.folder) not in known]:
        raise Invalid(
            f"{place} has no class {unknown[0]!r} (nor {len(unknown) - 1} more of the list); it calls its classes "
            f"{shown(names)}: begin each line of the list with such a name, then a tab and the name to show",
            code="unknown_class",
        )
    return True
