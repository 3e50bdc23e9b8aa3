"""Reading folders: one flat folder of an upstream, or one folder per class of a target split."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from touchstone_contracts.catalogue import ClassFolders, ImageFolder
from touchstone_contracts.problems import Invalid
from touchstone_runtime.beneath import read_beneath
from touchstone_runtime.decoding import MAX_BYTES
from touchstone_runtime.digests import listing_digest, require_digest

from touchstone_retrieval.ingest.caption_table import CSV, JSON_LINES, NO_SUCH_IMAGE, CaptionTable, read_captions
from touchstone_retrieval.ingest.captions import MOST_CAPTION_BYTES, clean_caption
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, clean_key, require_count
from touchstone_retrieval.ingest.tar_samples import (
    HIDDEN_FILE,
    OTHER_FILE,
    PICTURES,
    UNREAD_ENDINGS,
    UNREAD_FORMAT,
)

TABLES = (CSV, JSON_LINES)
"""Files that hold the captions of many images."""


@dataclass(frozen=True)
class FolderSource:
    kind: SourceKind
    root: Path
    files: Sequence[Path]
    describe: Callable[[Path], SourceRow]
    """From an image's path to its row, without the bytes."""
    unused: Reasons = field(default_factory=Reasons)

    @property
    def count(self) -> int:
        return len(self.files)

    def rows(self) -> Iterator[SourceRow]:
        for path in self.files:
            image, reason = _image_of(self.root, path)
            row = self.describe(path)
            yield replace(row, key=clean_key(row.key), image=image, reason=reason)


def open_image_folder(folder: Path, source: ImageFolder) -> FolderSource:
    """Raises Invalid when files were added, removed or changed since it was registered, or a table of captions cannot
    be read."""
    images = images_in(folder)
    # The digest first: who does not know it learns nothing else of the folder.
    require_digest(source.location, source.digest, listing_digest(folder, with_captions(folder, images)))
    require_count(source.location, len(images), source.images)
    table, texts = read_captions(folder, (path.name for path in images), source.location), texts_in(folder)
    note_unused(folder, with_captions(folder, images), table.unused)
    return FolderSource("upstream", folder, images, lambda path: _captioned(folder, path, table, texts), table.unused)


def open_class_folders(root: Path, source: ClassFolders) -> FolderSource:
    """Raises Invalid, naming the folder, when one is missing or is no class; as open_image_folder otherwise."""
    require_named_folders(root, source.folders, source.location)
    labelled = labelled_images(root, source.folders)
    require_digest(source.location, source.digest, listing_digest(root, labelled))
    require_count(source.location, len(labelled), source.images)
    refuse_other_folders(root, source.folders, source.location)
    unused = Reasons()
    note_unused(root, labelled, unused, deep=True)
    return FolderSource(
        "target",
        root,
        list(labelled),
        lambda path: SourceRow(path.relative_to(root).as_posix(), None, class_id=labelled[path]),
        unused,
    )


def _image_of(root: Path, path: Path) -> tuple[bytes | None, str]:
    """The bytes, or why there are none. A file may be unreadable though it is listed. Raises LeadsOut."""
    if _ending(path) in UNREAD_ENDINGS:
        return None, UNREAD_FORMAT
    try:
        data = read_beneath(root, path.relative_to(root), MAX_BYTES + 1)
    except OSError:
        return None, "unreadable_file"
    return (None, "too_many_bytes") if len(data) > MAX_BYTES else (data or None, "")


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, by name, also those of formats that are not read; hidden files are none."""
    return sorted(path for path in folder.iterdir() if is_image(path))


def with_captions(folder: Path, images: Sequence[Path]) -> list[Path]:
    tables, texts = (folder / name for name in TABLES), texts_in(folder)
    beside = (texts[path.stem] for path in images if path.stem in texts)
    return [*images, *(path for path in tables if path.is_file()), *dict.fromkeys(beside)]


def texts_in(folder: Path) -> dict[str, Path]:
    """The text files directly in a folder by their name without the ending, which may be `.TXT`: of two `.txt`."""
    found = (path for path in folder.iterdir() if is_text_name(path) and path.is_file())
    return {path.stem: path for path in sorted(found)}


def note_unused(root: Path, used: Iterable[Path], unused: Reasons, *, deep: bool = False) -> None:
    """Adds the files of a folder that are not `used`; `deep`: also those of the folders in it."""
    known = set(used)
    for path in sorted(root.rglob("*") if deep else root.iterdir()):
        if path not in known and path.is_file():
            note_other(path.relative_to(root), unused, texts=not deep)


def note_other(path: PurePath, unused: Reasons, *, texts: bool) -> None:
    """Adds a file that is not used, by its path in the folder; `texts`: where images have captions beside them."""
    if any(part.startswith(".") for part in path.parts):
        unused.add(HIDDEN_FILE, path.as_posix())
    else:
        unused.add(NO_SUCH_IMAGE if texts and is_text_name(path) else OTHER_FILE, path.as_posix())


def labelled_images(root: Path, folders: Sequence[str]) -> dict[Path, int]:
    """Image file -> class id: class by class, by path. Folders may have folders in them."""
    return {
        path: class_id
        for class_id, name in enumerate(folders)
        for path in sorted(filter(is_image, (root / name).rglob("*")))
    }


def is_image(path: Path) -> bool:
    return is_image_name(path) and path.is_file()


def is_image_name(path: PurePath) -> bool:
    return _ending(path) in PICTURES and not path.name.startswith(".")


def is_text_name(path: PurePath) -> bool:
    return _ending(path) == "txt" and not path.name.startswith(".")


def _ending(path: PurePath) -> str:
    return path.suffix.lower().lstrip(".")


def in_image_folder(path: PurePath) -> bool:
    """Whether a file, by its path in the folder, is one of its images or may say something about one."""
    return len(path.parts) == 1 and (is_image_name(path) or is_text_name(path) or path.name in TABLES)


def require_named_folders(root: Path, folders: Sequence[str], location: str) -> None:
    for class_id, name in enumerate(folders):
        if not (root / name).is_dir():
            raise Invalid(f"class {class_id} has no folder {name!r} in {location}", code="missing_class_folder")


def refuse_other_folders(root: Path, folders: Sequence[str], location: str) -> None:
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in folders and not path.name.startswith("."):
            raise Invalid(f"folder {path.name!r} in {location} belongs to no class", code="unknown_class_folder")


def _captioned(folder: Path, path: Path, table: CaptionTable, texts: Mapping[str, Path]) -> SourceRow:
    """A caption in the table counts for more than one beside the image."""
    caption, beside = table.captions.get(path.name, ""), texts.get(path.stem)
    if not caption and beside is not None:
        caption = clean_caption(read_beneath(folder, PurePath(beside.name), MOST_CAPTION_BYTES))
    return SourceRow(path.name, None, caption, notes=table.notes.get(path.name, ()))
