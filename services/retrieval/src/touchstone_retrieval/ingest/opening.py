"""From a source of the catalogue to the reader of its form."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import PurePosixPath

from touchstone_contracts.catalogue import ClassFolders, ImageFolder, ParquetFile, SourceFiles, TarShard

from touchstone_retrieval.ingest.folder_source import (
    in_image_folder,
    is_image_name,
    note_other,
    open_class_folders,
    open_image_folder,
)
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.parquet_source import open_source
from touchstone_retrieval.ingest.several_files import SeveralFiles
from touchstone_retrieval.ingest.source import ImageSource
from touchstone_retrieval.ingest.tar_source import open_tar

SourceWithImages = ParquetFile | TarShard | ImageFolder | ClassFolders | SourceFiles


@contextmanager
def opened(
    source: SourceWithImages, reader: LocationReader, classes: int | None = None, *, labels_as_found: bool = False
) -> Iterator[ImageSource]:
    """`classes`, `labels_as_found`: see IngestImages. Raises Invalid when the source is not what was registered."""
    match source:
        case ParquetFile():
            with reader.verified_file(source.location, source.digest) as path:
                yield open_source(path, source, classes, labels_as_found=labels_as_found)
        case TarShard():
            with reader.verified_file(source.location, source.digest) as path:
                yield open_tar(path, source, classes, labels_as_found=labels_as_found)
        case ImageFolder():
            needed = _Needed(in_image_folder)
            with reader.folder(source.location, needed) as folder:
                images = open_image_folder(folder, source)
                for other in needed.others:
                    if len(other.parts) == 1:  # folders in it are others
                        note_other(other, images.unused, texts=True)
                yield images
        case ClassFolders():
            needed = _Needed(is_image_name)
            with reader.folder(source.location, needed) as folder:
                images = open_class_folders(folder, source)
                for other in needed.others:
                    note_other(other, images.unused, texts=False)
                yield images
        case SourceFiles():
            several = SeveralFiles(source, lambda file: opened(file, reader, classes))
            with closing(several):
                yield several


class _Needed:
    """Which files of a folder in S3 are fetched; the others are remembered. Of a library's folder none is asked for."""

    def __init__(self, needed: Callable[[PurePosixPath], bool]) -> None:
        self._needed = needed
        self.others: list[PurePosixPath] = []

    def __call__(self, path: PurePosixPath) -> bool:
        needed = self._needed(path)
        if not needed:
            self.others.append(path)
        return needed
