"""From a file or folder to its catalogue entry: read once, so that later nobody has to trust it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from touchstone_contracts.catalogue import (
    ClassFolders,
    ImageColumns,
    ImageFolder,
    LinkColumns,
    TarShard,
    UpstreamShard,
)
from touchstone_runtime.digests import file_digest, listing_digest

from touchstone_retrieval.describe.class_folders import on_disk, require_named_once
from touchstone_retrieval.describe.links import AskedOfLinks, describe_links
from touchstone_retrieval.describe.tables import EmptyShard, columns_of, describe_parquet, some
from touchstone_retrieval.describe.telling import NAMES_SHOWN, Tell, tell_at_terminal, tell_unused
from touchstone_retrieval.ingest.caption_table import read_captions
from touchstone_retrieval.ingest.folder_source import (
    images_in,
    in_image_folder,
    is_image_name,
    labelled_images,
    note_unused,
    refuse_other_folders,
    require_named_folders,
    with_captions,
)
from touchstone_retrieval.ingest.link_text import TEXT_ENDINGS
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_retrieval.ingest.tar_samples import index_samples, is_hidden
from touchstone_retrieval.ingest.tar_source import note_labels

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")


def describe_tar(
    location: str, reader: LocationReader, tell: Tell = tell_at_terminal, *, labelled: bool = True
) -> TarShard:
    """`labelled`: whether classes are of use, as those of a target.

    Raises UnreadableSource when the tar is compressed or cut off, EmptyShard when it holds no image."""
    with reader.file(location) as path:
        samples, digest = index_samples(path, location), file_digest(path)
    if not labelled:
        note_labels(samples)
    tell_unused(location, samples.unused, tell)
    return TarShard(location=location, digest=digest, images=some(location, len(samples.by_key)))


def describe_folder(location: str, reader: LocationReader, tell: Tell = tell_at_terminal) -> ImageFolder:
    with reader.folder(location, in_image_folder) as folder:
        images = images_in(folder)
        described = with_captions(folder, images)
        digest = listing_digest(folder, described)
        unused = read_captions(folder, (path.name for path in images), location).unused
        note_unused(folder, described, unused)
    tell_unused(location, unused, tell)
    return ImageFolder(location=location, digest=digest, images=len(images))


def describe_class_folders(
    location: str, folders: Sequence[str], reader: LocationReader, tell: Tell = tell_at_terminal
) -> ClassFolders:
    """Raises Invalid, naming it, when a folder is missing, named twice or belongs to no class."""
    require_named_once(folders)
    with reader.folder(location, is_image_name) as root:
        folders = [on_disk(root, folder) for folder in folders]
        require_named_folders(root, folders, location)
        refuse_other_folders(root, folders, location)
        images = labelled_images(root, folders)
        digest = listing_digest(root, images)
        unused = Reasons()
        note_unused(root, images, unused, deep=True)
    tell_unused(location, unused, tell)
    return ClassFolders(location=location, digest=digest, images=len(images), folders=tuple(folders))


NO_COLUMNS: Mapping[str, str] = {}
ENDINGS = {"webdataset": (".tar",), "parquet": (".parquet",), "links": (".parquet", *TEXT_ENDINGS)}
"""Of the files of a form; those of the first ending alone where there are any."""


def describe_shards(
    form: str,
    location: str,
    reader: LocationReader,
    columns: Mapping[str, str] = NO_COLUMNS,
    links: AskedOfLinks | None = None,
) -> Iterator[UpstreamShard]:
    """Every shard of that form at or below the location, by name. `columns`: see named_columns."""
    if form == "image_folder":
        found = image_folders(reader.below(location.rstrip("/") + "/"))
    else:
        found = shard_files(form, reader.below(location), location)
    return described_each(form, found, reader, columns=columns, links=links)


def described_each(
    form: str,
    shards: Sequence[str],
    reader: LocationReader,
    tell: Tell = tell_at_terminal,
    *,
    columns: Mapping[str, str] = NO_COLUMNS,
    links: AskedOfLinks | None = None,
) -> Iterator[UpstreamShard]:
    """`shards`: their locations. Shards that hold no image are left out."""
    for shard in shards:
        try:
            match form:
                case "image_folder":
                    yield describe_folder(shard, reader, tell)
                case "webdataset":
                    yield describe_tar(shard, reader, tell, labelled=False)
                case "parquet":
                    yield describe_parquet(shard, reader, columns_of(ImageColumns, columns))
                case _:
                    yield describe_links(shard, reader, columns_of(LinkColumns, columns), links)
        except EmptyShard as problem:
            tell(f"left out: {problem.detail}")


def shard_files(form: str, files: Sequence[str], location: str, tell: Tell = tell_at_terminal) -> list[str]:
    """Those of `files`, found below `location`, that are shards. Raises UnreadableSource, naming them, where some are
    compressed."""
    first, *others = ENDINGS[form]
    endings = (first,) if any(file.lower().endswith(first) for file in files) else (first, *others)
    found = [file for file in files if file.lower().endswith((*endings, *COMPRESSED))]
    shown = [file for file in found if not is_hidden(file)]
    if len(shown) < len(found):
        tell(f"left out: {len(found) - len(shown)} hidden files below {location}")
    compressed = [file for file in shown if file.lower().endswith(COMPRESSED)]
    if form == "webdataset" and compressed:
        detail = f"{len(compressed)} archives below {location} are compressed ({', '.join(compressed[:NAMES_SHOWN])})"
        raise UnreadableSource(f"{detail}: unpack each to a plain .tar, as by gunzip", code="compressed_tar")
    return [file for file in shown if file not in compressed]


def image_folders(files: Sequence[str]) -> list[str]:
    """The folders that images among the files lie directly in, sorted."""
    images = (file for file in files if is_image_name(PurePosixPath(file)))
    return sorted({image.rpartition("/")[0] for image in images}, key=PurePosixPath)
