"""What the documents of labelled images tell of their splits before a byte is read."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from touchstone_contracts.catalogue import (
    ClassFolders,
    Dataset,
    SourceFiles,
    Splits,
    Target,
    TargetSplit,
    single_files,
)
from touchstone_contracts.problems import FieldError, Invalid


def check_splits(target: Target) -> None:
    """Raises Invalid where the document alone tells that a test would not be one: the same images for two splits, one
    folder for two classes. What only the images tell is found once they are ingested (check_target)."""
    errors = [*_repeated_splits(target), *_repeated_folders(target)]
    if errors:
        raise Invalid("splits of a target must hold different images", code="splits_overlap", errors=tuple(errors))


def check_dataset(dataset: Dataset) -> None:
    """Raises Invalid where two classes are given one folder."""
    if errors := tuple(_with_folders_again(dataset.images, "/images")):
        raise Invalid("classes of a data set must hold different images", code="splits_overlap", errors=errors)


class SharedFile(NamedTuple):
    """A file, or a folder, that two splits name."""

    number: int
    """Among those of the second split."""
    location: str
    """There."""
    first: str
    """Its location in the first split."""


def shared_files(one: TargetSplit, other: TargetSplit) -> Sequence[SharedFile]:
    """What both name of the same bytes. Files of one location are one file; of one folder, other class folders may be
    named."""
    if isinstance(one, ClassFolders) and isinstance(other, ClassFolders) and one.digest != other.digest:
        apart = one.location != other.location or set(one.folders).isdisjoint(other.folders)
        return () if apart else (SharedFile(0, other.location, one.location),)
    known = {name: file.location for file in single_files(one) for name in (file.location, file.digest)}
    return [
        SharedFile(number, file.location, known[name])
        for number, file in enumerate(single_files(other))
        if (name := next((name for name in (file.location, file.digest) if name in known), None))
    ]


def split_pointer(split: str) -> str:
    """JSON pointer into a target to a split by its name."""
    return f"/splits/{split}" if split in Splits.model_fields else f"/splits/further_tests/{split}"


def _repeated_splits(target: Target) -> Iterator[FieldError]:
    for (name, split), (other, found) in combinations(target.splits.by_name.items(), 2):
        if shared := shared_files(split, found):
            yield _repeated(name, split, other, found, shared)


def _repeated(
    name: str, split: TargetSplit, other: str, found: TargetSplit, shared: Sequence[SharedFile]
) -> FieldError:
    """`shared`: with `split`, called `name`, by `found`, called `other`."""
    if not isinstance(split, SourceFiles) and not isinstance(found, SourceFiles):
        return FieldError(pointer=split_pointer(other), detail=f"{other!r} names the images of {name!r}")
    number, location, first = shared[0]
    pointer = f"{split_pointer(other)}/files/{number}" if isinstance(found, SourceFiles) else split_pointer(other)
    called = location if location == first else f"{location}, the same bytes as {first},"
    more = f", and so are {len(shared) - 1} more files of {other!r}" if len(shared) > 1 else ""
    return FieldError(pointer=pointer, detail=f"{called} is in {name!r} and in {other!r}{more}")


def _repeated_folders(target: Target) -> Iterator[FieldError]:
    for name, split in target.splits.by_name.items():
        yield from _with_folders_again(split, split_pointer(name))


def _with_folders_again(split: TargetSplit, pointer: str) -> Iterator[FieldError]:
    first: dict[str, int] = {}
    for class_id, folder in enumerate(split.folders if isinstance(split, ClassFolders) else ()):
        if first.setdefault(folder, class_id) != class_id:
            detail = f"folder {folder!r} is given to class {first[folder]} and to class {class_id}"
            yield FieldError(pointer=f"{pointer}/folders/{class_id}", detail=detail)
