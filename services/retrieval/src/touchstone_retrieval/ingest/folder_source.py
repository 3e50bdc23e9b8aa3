"""Reading folders: one flat folder of an upstream, or one folder per class of a target split."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from touchstone_contracts.catalogue import ClassFolders, ImageFolder
from touchstone_contracts.problems import Invalid
from touchstone_runtime.beneath import read_beneath
from touchstone_runtime.decoding import MAX_BYTES
from touchstone_runtime.digests import listing_digest, require_digest

from touchstone_retrieval.ingest.captions import MOST_CAPTION_BYTES, clean_caption
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, UnreadableSource, clean_key, require_count
from touchstone_retrieval.ingest.tar_source import IMAGE_ENDINGS

CAPTIONS = "metadata.csv"
MOST_TABLE_BYTES = 256 * 2**20
"""Of a table of captions, which is held in memory."""


@dataclass(frozen=True)
class FolderSource:
    kind: SourceKind
    root: Path
    files: Sequence[Path]
    describe: Callable[[Path], SourceRow]
    """From an image's path to its row, without the bytes."""

    @property
    def count(self) -> int:
        return len(self.files)

    def rows(self) -> Iterator[SourceRow]:
        for path in self.files:
            image, reason = _image_of(self.root, path)
            row = self.describe(path)
            yield replace(row, key=clean_key(row.key), image=image, reason=reason)


def open_image_folder(folder: Path, source: ImageFolder) -> FolderSource:
    """Raises Invalid when files were added, removed or changed since it was registered, or captions name no image."""
    images = images_in(folder)
    # The digest first: who does not know it learns nothing else of the folder.
    require_digest(source.location, source.digest, listing_digest(folder, with_captions(folder, images)))
    require_count(source.location, len(images), source.images)
    captions = read_captions(folder, {path.name for path in images}, source.location)
    return FolderSource("upstream", folder, images, lambda path: SourceRow(path.name, None, _caption(path, captions)))


def open_class_folders(root: Path, source: ClassFolders) -> FolderSource:
    """Raises Invalid, naming the folder, when one is missing or is no class; as open_image_folder otherwise."""
    require_named_folders(root, source.folders, source.location)
    labelled = labelled_images(root, source.folders)
    require_digest(source.location, source.digest, listing_digest(root, labelled))
    require_count(source.location, len(labelled), source.images)
    refuse_other_folders(root, source.folders, source.location)
    return FolderSource(
        "target",
        root,
        list(labelled),
        lambda path: SourceRow(path.relative_to(root).as_posix(), None, class_id=labelled[path]),
    )


def _image_of(root: Path, path: Path) -> tuple[bytes | None, str]:
    """The bytes, or why there are none. A file may be unreadable though it is listed. Raises LeadsOut."""
    try:
        data = read_beneath(root, path.relative_to(root), MAX_BYTES + 1)
    except OSError:
        return None, "unreadable_file"
    return (None, "too_many_bytes") if len(data) > MAX_BYTES else (data or None, "")


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, by name; hidden files are none."""
    return sorted(path for path in folder.iterdir() if is_image(path))


def with_captions(folder: Path, images: Sequence[Path]) -> list[Path]:
    beside = (folder / CAPTIONS, *(path.with_suffix(".txt") for path in images))
    return [*images, *dict.fromkeys(path for path in beside if path.is_file())]


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
    return path.suffix.lower().lstrip(".") in IMAGE_ENDINGS and not path.name.startswith(".")


def in_image_folder(path: PurePath) -> bool:
    """Whether a file, by its path in the folder, is one of its images or may say something about one."""
    return len(path.parts) == 1 and (is_image_name(path) or path.suffix == ".txt" or path.name == CAPTIONS)


def require_named_folders(root: Path, folders: Sequence[str], place: str) -> None:
    for class_id, name in enumerate(folders):
        if not (root / name).is_dir():
            raise Invalid(f"class {class_id} has no folder {name!r} in {place}", code="missing_class_folder")


def refuse_other_folders(root: Path, folders: Sequence[str], place: str) -> None:
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in folders and not path.name.startswith("."):
            raise Invalid(f"folder {path.name!r} in {place} belongs to no class", code="unknown_class_folder")


def read_captions(folder: Path, names: set[str], place: str) -> Mapping[str, str]:
    """File name -> caption; none where there is no file. Rows are found by name, so bad bytes in one shift no other."""
    if not (folder / CAPTIONS).is_file():
        return {}
    data = read_beneath(folder, PurePath(CAPTIONS), MOST_TABLE_BYTES + 1)
    if len(data) > MOST_TABLE_BYTES:
        raise UnreadableSource(f"{CAPTIONS} of {place} has more than {MOST_TABLE_BYTES:,} bytes", code="too_many_bytes")
    text = data.decode("utf-8-sig", errors="replace")
    table = csv.DictReader(io.StringIO(text, newline=""))
    if missing := {"file_name", "caption"} - set(table.fieldnames or ()):
        detail = f"{CAPTIONS} of {place} lacks the columns {sorted(missing)}; is it UTF-8?"
        raise UnreadableSource(detail, code="missing_columns")
    captions = {row["file_name"]: clean_caption(row["caption"]) for row in _readable(table) if row["file_name"]}
    if strangers := sorted(set(captions) - names):
        detail = f"{CAPTIONS} of {place} has a caption for {strangers[0]!r}, which is not there"
        raise UnreadableSource(detail, code="missing_image")
    return captions


def _readable(table: "csv.DictReader[str]") -> Iterator[dict[str, str]]:
    """Rows that csv can read, such as those without a field of megabytes."""
    while True:
        try:
            yield next(table)
        except csv.Error:
            continue
        except StopIteration:
            return


def _caption(path: Path, captions: Mapping[str, str]) -> str:
    beside = path.with_suffix(".txt")
    if path.name in captions or not beside.is_file():
        return captions.get(path.name, "")
    return clean_caption(read_beneath(path.parent, PurePath(beside.name), MOST_CAPTION_BYTES))
