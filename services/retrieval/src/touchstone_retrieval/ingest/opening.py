"""From a source of the catalogue to the reader of its form."""

from collections.abc import Iterator
from contextlib import contextmanager

from touchstone_contracts.catalogue import ClassFolders, ImageFolder, ParquetFile, TarShard

from touchstone_retrieval.ingest.folder_source import (
    in_image_folder,
    is_image_name,
    open_class_folders,
    open_image_folder,
)
from touchstone_retrieval.ingest.parquet_source import open_source
from touchstone_retrieval.ingest.places import Places
from touchstone_retrieval.ingest.source import ImageSource
from touchstone_retrieval.ingest.tar_source import open_tar

SourceWithImages = ParquetFile | TarShard | ImageFolder | ClassFolders


@contextmanager
def opened(source: SourceWithImages, places: Places) -> Iterator[ImageSource]:
    """Raises Invalid when the source is not what was registered."""
    match source:
        case ParquetFile():
            with places.verified_file(source.location, source.digest) as path:
                yield open_source(path, source)
        case TarShard():
            with places.verified_file(source.location, source.digest) as path:
                yield open_tar(path, source)
        case ImageFolder():
            with places.folder(source.location, in_image_folder) as folder:
                yield open_image_folder(folder, source)
        case ClassFolders():
            with places.folder(source.location, is_image_name) as folder:
                yield open_class_folders(folder, source)
