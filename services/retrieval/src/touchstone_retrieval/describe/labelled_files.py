"""Files of labelled images: which split each belongs to, and where the class folders of a split are."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from touchstone_contracts.problems import Invalid, in_words

from touchstone_retrieval.describe.listing import NAMES_SHOWN, FoundFile
from touchstone_retrieval.describe.recognising import TARS
from touchstone_retrieval.describe.shards import Tell
from touchstone_retrieval.ingest.folder_source import is_image_name

CALLED = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Split -> what folders and files of it are called, alone or before something that is no letter."""
NEEDED = ("validation", "test")
_SPLIT = {
    split: re.compile(rf"({'|'.join(names)})([^a-z].*)?", re.IGNORECASE | re.DOTALL) for split, names in CALLED.items()
}
_NO_LETTERS = re.compile(r"[^a-z]+")

FilesOfSplits = Mapping[str, Sequence[FoundFile]]


def by_split(files: Sequence[FoundFile], tell: Tell) -> dict[str, list[FoundFile]]:
    """Raises Invalid where a split that every target needs is missing, with what was found."""
    splits: dict[str, list[FoundFile]] = defaultdict(list)
    named = [_split_of(file.path) for file in files]
    if not any(named):
        named = [_split_within(file.path) for file in files]
    for file, split in zip(files, named, strict=True):
        splits[split or ""].append(file)
    others = splits.pop("", [])
    if missing := [split for split in NEEDED if split not in splits]:
        there = [f"{split} ({len(found)} files, such as {found[0].path})" for split, found in splits.items()]
        shown = ", ".join(file.path for file in others[:NAMES_SHOWN])
        found = f"found {in_words(there, 'and')}" + (
            f"; {len(others)} files of no split, such as {shown}" if others else ""
        )
        raise Invalid(
            f"no {in_words(missing, 'and no')} split: {found}. Call the folders or files train, validation and test, "
            "or name the location of each split in `splits`",
            code="missing_split",
        )
    if others:
        tell(f"left out: {len(others)} files of no split, such as {others[0].path}")
    return dict(splits)


def _split_of(path: str) -> str | None:
    """By the first part of the path that is called as a split."""
    *folders, name = PurePosixPath(path).parts
    for part in (*folders, name):
        for split, called in _SPLIT.items():
            if called.fullmatch(part) and (part is name or part.lower() in CALLED[split]):
                return split
    return None


def _split_within(path: str) -> str | None:
    """Of a table or shard: the one split that words of its path name, as in imagenet1k-train-0000.tar."""
    if not path.lower().endswith((*TARS, ".parquet")):
        return None
    words = set(_NO_LETTERS.split(path.lower()))
    named = [split for split, called in CALLED.items() if not words.isdisjoint(called)]
    return named[0] if len(named) == 1 else None


def class_root(files: Sequence[FoundFile], *, below_split: bool) -> tuple[str, list[str]]:
    """The location of the folder that the class folders lie in, and their names in order. `below_split`: that folder
    has the name of the split.

    Raises Invalid where the images do not lie in class folders of one folder."""
    images = [file for file in files if is_image_name(PurePosixPath(file.path))]
    roots = {_split_folder(file.path) for file in images} if below_split else {_common(images)}
    if len(roots) != 1:
        shown = in_words(sorted("/".join(root) or "the location itself" for root in roots)[:NAMES_SHOWN], "and")
        raise Invalid(f"class folders of one split lie in several folders: {shown}", code="unknown_layout")
    (root,) = roots
    below = [PurePosixPath(file.path).parts[len(root) :] for file in images]
    classes = sorted({parts[0] for parts in below if len(parts) > 1})
    if len(classes) < 2:
        raise Invalid(
            f"found {len(images)} images, such as {images[0].path}, in {len(classes)} class folders: a split has a "
            "folder for each class",
            code="unknown_layout",
        )
    return _location_of_root(images[0], len(root)), classes


def _split_folder(path: str) -> tuple[str, ...]:
    """The parts of the path up to the one that is called as a split; none where no folder is."""
    parts = PurePosixPath(path).parts
    names = {name for called in CALLED.values() for name in called}
    return next((parts[: number + 1] for number, part in enumerate(parts[:-1]) if part.lower() in names), ())


def _common(images: Sequence[FoundFile]) -> tuple[str, ...]:
    """The folders that all images have in common, less their class."""
    paths = [PurePosixPath(file.path).parts for file in images]
    common = 0
    while all(len(parts) > common + 2 and parts[common] == paths[0][common] for parts in paths):
        common += 1
    return paths[0][:common]


def _location_of_root(file: FoundFile, depth: int) -> str:
    below = "/".join(PurePosixPath(file.path).parts[depth:])
    return file.location.removesuffix(below).rstrip("/")
