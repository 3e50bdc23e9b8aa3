"""What the documents of labelled images tell of their splits before a byte is read."""

from collections.abc import Iterator
from itertools import combinations

from touchstone_contracts.catalogue import ClassFolders, Dataset, Splits, Target, TargetSplit
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


def same_images(one: TargetSplit, other: TargetSplit) -> bool:
    """Whether both name the same bytes. Files of one location are one file; of one folder, other class folders may be
    named."""
    if one.digest == other.digest:
        return True
    if isinstance(one, ClassFolders) and isinstance(other, ClassFolders):
        return one.location == other.location and not set(one.folders).isdisjoint(other.folders)
    return one.location == other.location


def split_pointer(split: str) -> str:
    """JSON pointer into a target to a split by its name."""
    return f"/splits/{split}" if split in Splits.model_fields else f"/splits/further_tests/{split}"


def _repeated_splits(target: Target) -> Iterator[FieldError]:
    for (name, split), (other, found) in combinations(target.splits.by_name.items(), 2):
        if same_images(split, found):
            yield FieldError(pointer=split_pointer(other), detail=f"{other!r} names the images of {name!r}")


def _repeated_folders(target: Target) -> Iterator[FieldError]:
    for name, split in target.splits.by_name.items():
        yield from _with_folders_again(split, split_pointer(name))


def _with_folders_again(split: TargetSplit, pointer: str) -> Iterator[FieldError]:
    first: dict[str, int] = {}
    for class_id, folder in enumerate(split.folders if isinstance(split, ClassFolders) else ()):
        if first.setdefault(folder, class_id) != class_id:
            detail = f"folder {folder!r} is given to class {first[folder]} and to class {class_id}"
            yield FieldError(pointer=f"{pointer}/folders/{class_id}", detail=detail)
