"""What the step `describe_source` does: find the files, recognise what they are, and write down digests and counts."""

import unicodedata
from collections.abc import Mapping, Sequence

from touchstone_contracts.catalogue import TargetSplit, UpstreamShard
from touchstone_contracts.class_lists import display_name
from touchstone_contracts.locations import MOST_LOCATIONS, Layout, LinkChoices
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import DescribeSource, SourceDescribed
from touchstone_runtime.serving import ProgressFunction

from touchstone_retrieval.describe.labelled_files import FilesOfSplits, by_split, class_root
from touchstone_retrieval.describe.links import asked_of_links
from touchstone_retrieval.describe.listing import NAMES_SHOWN, FoundFile, files_at
from touchstone_retrieval.describe.recognising import recognised_labelled, recognised_upstream
from touchstone_retrieval.describe.shards import (
    describe_class_folders,
    describe_tar,
    described_each,
    image_folders,
    shard_files,
)
from touchstone_retrieval.describe.tables import describe_named
from touchstone_retrieval.describe.telling import Tell
from touchstone_retrieval.ingest.places import Places

MOST_NOTES, MOST_NOTE_CHARACTERS = 100, 500
ALL = ""
"""In place of a split's name: every file, of whichever split."""


def described(request: DescribeSource, places: Places, progress: ProgressFunction) -> SourceDescribed:
    """Raises Invalid, which says what was found, and Transient where a server cannot be reached."""
    notes: list[str] = []

    def tell(line: str) -> None:
        if len(notes) < MOST_NOTES:
            notes.append(line[:MOST_NOTE_CHARACTERS])

    found = {
        split: list({file.place: file for location in locations for file in files_at(location, places)}.values())
        for split, locations in request.locations.items()
    }
    if request.form == "upstream":
        shards = _shards(request, found[ALL], places, tell, progress)
        return SourceDescribed(shards=shards, notes=tuple(notes))
    files: FilesOfSplits = found
    below_split = request.form == "target" and ALL in found
    if below_split:
        files = by_split(found[ALL], tell)
    splits, classes = _splits(request, files, places, tell, progress, below_split=below_split)
    return SourceDescribed(splits=splits, classes=tuple(classes), notes=tuple(notes))


def _shards(
    request: DescribeSource, files: Sequence[FoundFile], places: Places, tell: Tell, progress: ProgressFunction
) -> tuple[UpstreamShard, ...]:
    if request.layout is None:
        with recognised_upstream(files, places) as (layout, held):
            return _shards_of(layout, request, files, held, tell, progress)
    return _shards_of(request.layout, request, files, places, tell, progress)


def _shards_of(
    layout: Layout,
    request: DescribeSource,
    files: Sequence[FoundFile],
    places: Places,
    tell: Tell,
    progress: ProgressFunction,
) -> tuple[UpstreamShard, ...]:
    if layout != "links" and request.links != LinkChoices():
        raise Invalid(f"embeddings, uids and most_unsafe are of links, and the files are {layout}", code="bad_column")
    links = asked_of_links(request.links, places)
    shards = _shard_places(layout, files, request.locations[ALL][0], tell)
    if len(shards) > MOST_LOCATIONS:
        raise Invalid(
            f"{len(shards):,} shards were found, an upstream has {MOST_LOCATIONS:,} at most", code="too_many_shards"
        )
    described: list[UpstreamShard] = []
    for done, shard in enumerate(shards):
        progress(done, len(shards))
        described += described_each(layout, [shard], places, tell, links=links)
    links.tell_absent(tell)
    if not described:
        raise Invalid(
            f"none of the {len(files)} files found is one of layout {layout} with images", code="unknown_layout"
        )
    return tuple(described)


def _shard_places(layout: Layout, files: Sequence[FoundFile], location: str, tell: Tell) -> list[str]:
    found = [file.place for file in files]
    return image_folders(found) if layout == "image_folder" else shard_files(layout, found, location, tell)


def _splits(
    request: DescribeSource,
    files: FilesOfSplits,
    places: Places,
    tell: Tell,
    progress: ProgressFunction,
    *,
    below_split: bool,
) -> tuple[dict[str, TargetSplit], Sequence[str]]:
    layout = request.layout or recognised_labelled([file for found in files.values() for file in found])
    if layout == "class_folders":
        return _class_folders(request.classes, files, places, progress, below_split=below_split)
    splits: dict[str, TargetSplit] = {}
    classes: Sequence[str] = request.classes
    for done, (split, found) in enumerate(files.items()):
        progress(done, len(files))
        place = _the_one_file(split, shard_files(layout, [file.place for file in found], split, tell))
        if layout == "webdataset":
            splits[split] = describe_tar(place, places, tell)
        else:
            splits[split], classes = describe_named(place, classes, places)
    if not classes and request.form == "target":
        raise Invalid("the files do not say what their classes are called: name them in `classes`", code="no_classes")
    return splits, classes


def _the_one_file(split: str, files: Sequence[str]) -> str:
    if len(files) != 1:
        shown = f", such as {', '.join(files[:NAMES_SHOWN])}" if files else ""
        raise Invalid(
            f"split {split or 'of the images'} has {len(files)} files{shown}; it must be one", code="not_one_file"
        )
    return files[0]


def _class_folders(
    names: Sequence[str], files: FilesOfSplits, places: Places, progress: ProgressFunction, *, below_split: bool
) -> tuple[dict[str, TargetSplit], Sequence[str]]:
    roots = {split: class_root(found, below_split=below_split) for split, found in files.items()}
    every = sorted({folder for _, folders in roots.values() for folder in folders})
    splits: dict[str, TargetSplit] = {}
    for done, (split, (root, there)) in enumerate(roots.items()):
        progress(done, len(roots))
        splits[split] = describe_class_folders(root, _folders_of(names, there) if names else every, places)
    return splits, names or [display_name(folder) for folder in every]


def _folders_of(names: Sequence[str], there: Sequence[str]) -> list[str]:
    """The folder of each class: called as it is, or with underscores for blanks."""
    known: Mapping[str, str] = {display_name(folder): folder for folder in there} | {folder: folder for folder in there}
    return [known.get(unicodedata.normalize("NFC", name), name) for name in names]
