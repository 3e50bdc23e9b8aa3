"""What is registered, arranged for lists: a row of facts for each entry."""

from collections.abc import Mapping
from dataclasses import dataclass

from touchstone_contracts.catalogue import (
    Dataset,
    Encoder,
    Entry,
    Generator,
    Source,
    SourceFiles,
    Target,
    TargetSplit,
    Upstream,
)

from touchstone_api.dashboard.rendering import count


@dataclass(frozen=True)
class Kind:
    """One kind of entry; `plural` is also the first word of its addresses."""

    plural: str
    title: str
    about: str
    columns: tuple[str, ...]
    """Headings of what `facts_of` tells, after the name and before the description."""


KINDS: Mapping[type[Entry], Kind] = {
    Upstream: Kind(
        "upstreams", "Upstreams", "Image-text collections that real images are retrieved from.",
        ("Images", "Files", "Index encoder"),
    ),
    Target: Kind("targets", "Targets", "Classification tasks to be good at.", ("Classes", "Test images", "Test sets")),
    Encoder: Kind("encoders", "Encoders", "Models that are adapted, or that search and score.", ("Kind", "Trained on")),
    Generator: Kind(
        "generators", "Generators", "Models that generate training images.", ("Family", "Pixels a side", "Trained on")
    ),
    Dataset: Kind(
        "datasets", "Data sets", "Labelled images for the classes of a target.",
        ("Target", "Images", "Origin", "Licence"),
    ),
}  # fmt: skip
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Listed:
    name: str
    facts: tuple[str, ...]
    description: str


def listed(entry: Entry) -> Listed:
    return Listed(entry.name, facts_of(entry), entry.description)


def facts_of(entry: Entry) -> tuple[str, ...]:
    """One for each column of its kind."""
    match entry:
        case Upstream():
            return count(entry.images), count(len(entry.shards)), entry.index_encoder
        case Target():
            splits = entry.splits
            return count(len(entry.classes)), count(splits.test.images), ", ".join(splits.tests)
        case Encoder():
            return entry.kind.replace("_", " "), entry.trained_on or NOT_KNOWN
        case Generator():
            return entry.family or NOT_KNOWN, str(entry.image_size), entry.trained_on or NOT_KNOWN
        case Dataset():
            return entry.target, count(entry.images.images), entry.origin, entry.licence or NOT_KNOWN


File = tuple[str, Source]
"""What it is, and the file or folder."""


def files_of(entry: Entry, most: int) -> tuple[list[File], int]:
    """At most so many of the files and folders that are ingested of an entry, of each split the first ones, and how
    many there are. Models have none."""
    groups = _files_by_split(entry)
    share = max(1, most // max(1, len(groups)))
    return [file for group in groups for file in group[:share]], sum(map(len, groups))


def _files_by_split(entry: Entry) -> list[list[File]]:
    match entry:
        case Upstream():
            return [[(f"shard {number}", shard) for number, shard in enumerate(entry.shards)]]
        case Target():
            return [_files_of_split(split, source) for split, source in entry.splits.by_name.items()]
        case Dataset():
            return [_files_of_split("images", entry.images)]
        case _:
            return []


def _files_of_split(split: str, source: TargetSplit) -> list[File]:
    if not isinstance(source, SourceFiles):
        return [(split, source)]
    return [(f"{split}, file {number}", file) for number, file in enumerate(source.files)]
