"""Reading folders: one flat folder of an upstream, or one folder per class of a target split."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from touchstone_contracts.catalogue import ClassFolders, ImageFolder
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import listing_digest, require_digest

from touchstone_retrieval.ingest.captions import clean_caption
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, UnreadableSource, require_count
from touchstone_retrieval.ingest.tar_source import IMAGE_ENDINGS

CAPTIONS = "metadata.csv"


@dataclass(frozen=True)
class FolderSource:
    kind: SourceKind
    files: Sequence[Path]
    describe: Callable[[Path], SourceRow]
    """From an image's path to its row, without the bytes."""

    @property
    def count(self) -> int:
        return len(self.files)

    def rows(self) -> Iterator[SourceRow]:
        for path in self.files:
            row = self.describe(path)
            yield SourceRow(row.key, path.read_bytes() or None, row.caption, row.class_id)


def open_image_folder(folder: Path, source: ImageFolder) -> FolderSource:
    """Raises Invalid when files were added, removed or changed since it was registered, or captions name no image."""
    images = images_in(folder)
    require_count(source.location, len(images), source.images)
    require_digest(source.location, source.digest, listing_digest(folder, with_captions(folder, images)))
    captions = read_captions(folder / CAPTIONS, {path.name for path in images}, source.location)
    return FolderSource("upstream", images, lambda path: SourceRow(path.name, None, _caption(path, captions)))


def open_class_folders(root: Path, source: ClassFolders) -> FolderSource:
    """Raises Invalid, naming the folder, when one is missing or is no class; as open_image_folder otherwise."""
    require_class_folders(root, source.folders, source.location)
    labelled = labelled_images(root, source.folders)
    require_count(source.location, len(labelled), source.images)
    require_digest(source.location, source.digest, listing_digest(root, labelled))
    return FolderSource(
        "target",
        list(labelled),
        lambda path: SourceRow(path.relative_to(root).as_posix(), None, class_id=labelled[path]),
    )


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


def require_class_folders(root: Path, folders: Sequence[str], place: str) -> None:
    for class_id, name in enumerate(folders):
        if not (root / name).is_dir():
            raise Invalid(f"class {class_id} has no folder {name!r} in {place}", code="missing_class_folder")
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in folders and not path.name.startswith("."):
            raise Invalid(f"folder {path.name!r} in {place} belongs to no class", code="unknown_class_folder")


def read_captions(path: Path, names: set[str], place: str) -> Mapping[str, str]:
    """File name -> caption; none where there is no file. Rows are found by name, so bad bytes in one shift no other."""
    if not path.is_file():
        return {}
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    table = csv.DictReader(io.StringIO(text, newline=""))
    if missing := {"file_name", "caption"} - set(table.fieldnames or ()):
        detail = f"{CAPTIONS} of {place} lacks the columns {sorted(missing)}; is it UTF-8?"
        raise UnreadableSource(detail, code="missing_columns")
    captions = {row["file_name"]: clean_caption(row["caption"]) for row in table}
    if strangers := sorted(set(captions) - names):
        detail = f"{CAPTIONS} of {place} has a caption for {strangers[0]!r}, which is not there"
        raise UnreadableSource(detail, code="missing_image")
    return captions


def _caption(path: Path, captions: Mapping[str, str]) -> str:
    beside = path.with_suffix(".txt")
    if path.name in captions or not beside.is_file():
        return captions.get(path.name, "")
    return clean_caption(beside.read_bytes())
