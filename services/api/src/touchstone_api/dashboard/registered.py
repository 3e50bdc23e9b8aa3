"""What is registered, arranged for lists: a row of facts for each entry."""

from collections.abc import Mapping
from dataclasses import dataclass

from touchstone_contracts.catalogue import Dataset, Encoder, Entry, Generator, Source, Target, Upstream

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


def files_of(entry: Entry) -> tuple[tuple[str, Source], ...]:
    """(what it is, file or folder) of everything that is ingested of an entry; models have none."""
    match entry:
        case Upstream():
            return tuple((f"shard {number}", shard) for number, shard in enumerate(entry.shards))
        case Target():
            return tuple(entry.splits.by_name.items())
        case Dataset():
            return (("images", entry.images),)
        case _:
            return ()
