"""What the step `describe_source` does: find the files, recognise what they are, and write down digests and counts."""

import unicodedata
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from touchstone_contracts.catalogue import ImageColumns, TargetSplit, UpstreamShard
from touchstone_contracts.class_lists import ClassLine, display_name
from touchstone_contracts.locations import MOST_LOCATIONS, WITH_COLUMNS, Layout, LinkChoices
from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.steps import DescribeSource, SourceDescribed
from touchstone_runtime.serving import ProgressFunction

from touchstone_retrieval.describe.labelled_files import FilesOfSplits, by_split, class_root
from touchstone_retrieval.describe.links import AskedOfLinks, asked_of_links
from touchstone_retrieval.describe.listing import NAMES_SHOWN, FoundFile, files_at
from touchstone_retrieval.describe.recognising import recognised_labelled, recognised_upstream
from touchstone_retrieval.describe.shards import (
    describe_class_folders,
    described_each,
    image_folders,
    shard_files,
)
from touchstone_retrieval.describe.split_files import describe_files
from touchstone_retrieval.describe.tables import columns_of
from touchstone_retrieval.describe.telling import Tell
from touchstone_retrieval.ingest.location_reader import LocationReader

MOST_NOTES, MOST_NOTE_CHARACTERS = 100, 500
ALL = ""
"""The key for files that are not sorted into splits, instead of the name of a split."""


def described(request: DescribeSource, reader: LocationReader, progress: ProgressFunction) -> SourceDescribed:
    """Raises Invalid, which says what was found, and Transient where a server cannot be reached."""
    notes: list[str] = []

    def tell(line: str) -> None:
        if len(notes) < MOST_NOTES:
            notes.append(line[:MOST_NOTE_CHARACTERS])

    found = {
        split: list({file.location: file for location in locations for file in files_at(location, reader)}.values())
        for split, locations in request.locations.items()
    }
    if request.form == "upstream":
        shards = _shards(request, found[ALL], reader, tell, progress)
        return SourceDescribed(shards=shards, notes=tuple(notes))
    files: FilesOfSplits = found
    below_split = request.form == "target" and ALL in found
    if below_split:
        files = by_split(found[ALL], tell)
    splits, classes = _splits(request, files, reader, tell, progress, below_split=below_split)
    return SourceDescribed(splits=splits, classes=tuple(classes), notes=tuple(notes))


def _shards(
    request: DescribeSource, files: Sequence[FoundFile], reader: LocationReader, tell: Tell, progress: ProgressFunction
) -> tuple[UpstreamShard, ...]:
    if request.layout is None:
        with recognised_upstream(files, reader, request.columns) as (layout, held):
            return _shards_of(layout, request, files, held, tell, progress)
    return _shards_of(request.layout, request, files, reader, tell, progress)


def _shards_of(
    layout: Layout,
    request: DescribeSource,
    files: Sequence[FoundFile],
    reader: LocationReader,
    tell: Tell,
    progress: ProgressFunction,
) -> tuple[UpstreamShard, ...]:
    _require_layout_with_columns(request, layout)
    if layout != "links" and request.links != LinkChoices():
        raise Invalid(f"embeddings, uids and most_unsafe are of links, and the files are {layout}", code="bad_column")
    links = asked_of_links(request.links, reader)
    shards = _shard_locations(layout, files, request.locations[ALL][0], tell)
    if len(shards) > MOST_LOCATIONS:
        raise Invalid(
            f"{len(shards):,} shards were found, an upstream has {MOST_LOCATIONS:,} at most", code="too_many_shards"
        )
    described: list[UpstreamShard] = []
    for done, shard in enumerate(shards):
        progress(done, len(shards))
        described += _described(layout, shard, request, reader, tell, links)
    links.tell_absent(tell)
    if not described:
        raise Invalid(
            f"none of the {len(files)} files found is one of layout {layout} with images", code="unknown_layout"
        )
    return tuple(described)


def _described(
    layout: Layout, shard: str, request: DescribeSource, reader: LocationReader, tell: Tell, links: AskedOfLinks
) -> list[UpstreamShard]:
    try:
        return list(described_each(layout, [shard], reader, tell, columns=request.columns, links=links))
    except ValidationError as error:
        detail = f"{shard} cannot be registered with these columns: {error.errors()[0]['msg']}"
        raise Invalid(detail, code="bad_column") from error


def _shard_locations(layout: Layout, files: Sequence[FoundFile], location: str, tell: Tell) -> list[str]:
    found = [file.location for file in files]
    return image_folders(found) if layout == "image_folder" else shard_files(layout, found, location, tell)


def _splits(
    request: DescribeSource,
    files: FilesOfSplits,
    reader: LocationReader,
    tell: Tell,
    progress: ProgressFunction,
    *,
    below_split: bool,
) -> tuple[dict[str, TargetSplit], Sequence[str]]:
    layout = request.layout or recognised_labelled([file for found in files.values() for file in found])
    _require_layout_with_columns(request, layout)
    if layout == "class_folders":
        return _class_folders(request.classes, files, reader, progress, below_split=below_split)
    chosen = {split: _files_of(layout, split, found, tell) for split, found in files.items()}
    lines = [ClassLine(name, name) for name in request.classes]
    columns = columns_of(ImageColumns, request.columns)
    splits, classes = describe_files(layout, chosen, lines, columns, reader, tell, progress)
    if not classes and request.form == "target":
        raise Invalid("the files do not say what their classes are called: name them in `classes`", code="no_classes")
    return splits, classes


def _files_of(layout: Layout, split: str, found: Sequence[FoundFile], tell: Tell) -> list[str]:
    files = shard_files(layout, [file.location for file in found], split, tell)
    if not files:
        shown = ", ".join(file.path for file in found[:NAMES_SHOWN])
        named = f"split {split}" if split else "the data set"
        raise Invalid(f"{named} has no file of layout {layout}, only such as {shown}", code="unknown_layout")
    return files


def _require_layout_with_columns(request: DescribeSource, layout: Layout) -> None:
    if request.columns and layout not in WITH_COLUMNS:
        raise Invalid(
            f"columns are named ({', '.join(request.columns)}), and the files are of layout {layout}, which has none: "
            f"leave them out, or name the files of layout {in_words(WITH_COLUMNS, 'or')}",
            code="bad_column",
        )


def _class_folders(
    names: Sequence[str], files: FilesOfSplits, reader: LocationReader, progress: ProgressFunction, *, below_split: bool
) -> tuple[dict[str, TargetSplit], Sequence[str]]:
    roots = {split: class_root(found, below_split=below_split) for split, found in files.items()}
    every = sorted({folder for _, folders in roots.values() for folder in folders})
    splits: dict[str, TargetSplit] = {}
    for done, (split, (root, there)) in enumerate(roots.items()):
        progress(done, len(roots))
        splits[split] = describe_class_folders(root, _folders_of(names, there) if names else every, reader)
    return splits, names or [display_name(folder) for folder in every]


def _folders_of(names: Sequence[str], there: Sequence[str]) -> list[str]:
    """The folder of each class: called as it is, or with underscores for blanks."""
    known: Mapping[str, str] = {display_name(folder): folder for folder in there} | {folder: folder for folder in there}
    return [known.get(unicodedata.normalize("NFC", name), name) for name in names]
