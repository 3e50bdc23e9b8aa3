"""From a file or folder to its catalogue entry: read once, so that later nobody has to trust it."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from touchstone_contracts.catalogue import (
    ArrayFile,
    ClassFolders,
    ImageFolder,
    LinkTable,
    ParquetFile,
    TarShard,
    UpstreamShard,
)
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest, listing_digest

from touchstone_retrieval.describe.class_list import on_disk, require_named_once
from touchstone_retrieval.ingest.caption_table import read_captions
from touchstone_retrieval.ingest.folder_source import (
    images_in,
    in_image_folder,
    is_image_name,
    labelled_images,
    refuse_other_folders,
    require_named_folders,
    with_captions,
)
from touchstone_retrieval.ingest.parquet_reading import open_parquet
from touchstone_retrieval.ingest.places import Places
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_retrieval.ingest.tar_samples import index_samples, is_hidden

_METADATA = re.compile(r"metadata_(\d+)\.parquet$")


COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
NAMES_SHOWN = 3


class EmptyShard(Invalid):
    code = "empty_shard"
    title = "Nothing in a shard"


def tell_at_terminal(line: str) -> None:
    """Beside the catalogue, which goes to standard output."""
    print(line, file=sys.stderr)


Tell = Callable[[str], None]
"""Takes what was left out, in words."""
Describe = Callable[[str, Places, Tell], UpstreamShard]


def describe_tar(place: str, places: Places, tell: Tell = tell_at_terminal) -> TarShard:
    """Raises UnreadableSource when the tar is compressed or cut off, EmptyShard when it holds no image."""
    with places.file(place) as path:
        samples, digest = index_samples(path, place), file_digest(path)
    _tell_unused(place, samples.unused, tell)
    return TarShard(location=place, digest=digest, images=_some(place, len(samples.by_key)))


def describe_parquet(place: str, places: Places, tell: Tell = tell_at_terminal) -> ParquetFile:
    with places.file(place) as path:
        rows = _some(place, open_parquet(path, place).count)
        return ParquetFile(location=place, digest=file_digest(path), images=rows)


def describe_folder(place: str, places: Places, tell: Tell = tell_at_terminal) -> ImageFolder:
    with places.folder(place, in_image_folder) as folder:
        images = images_in(folder)
        digest = listing_digest(folder, with_captions(folder, images))
        _tell_unused(place, read_captions(folder, (path.name for path in images), place).unused, tell)
    return ImageFolder(location=place, digest=digest, images=len(images))


def describe_class_folders(place: str, folders: Sequence[str], places: Places) -> ClassFolders:
    """Raises Invalid, naming it, when a folder is missing, named twice or belongs to no class."""
    require_named_once(folders)
    with places.folder(place, is_image_name) as root:
        folders = [on_disk(root, folder) for folder in folders]
        require_named_folders(root, folders, place)
        refuse_other_folders(root, folders, place)
        images = labelled_images(root, folders)
        digest = listing_digest(root, images)
    return ClassFolders(location=place, digest=digest, images=len(images), folders=tuple(folders))


def describe_links(place: str, places: Places, tell: Tell = tell_at_terminal) -> LinkTable:
    """`metadata_<n>.parquet` with `img_emb_<n>.npy` and, if it is there, `text_emb_<n>.npy`: beside it, or in folders
    `img_emb` and `text_emb` beside the folder `metadata`, as clip-retrieval lays them out."""
    table = describe_parquet(place, places)
    image = _array(place, "img_emb", places)
    if image is None:
        raise Invalid(f"{place} has no img_emb of its number", code="place_missing")
    return LinkTable(
        location=place,
        digest=table.digest,
        images=table.images,
        image_embeddings=image,
        caption_embeddings=_array(place, "text_emb", places),
    )


def _array(metadata: str, kind: str, places: Places) -> ArrayFile | None:
    name = _METADATA.search(metadata)
    if name is None:
        raise Invalid(f"{metadata} is not named metadata_<number>.parquet", code="place_missing")
    folder = metadata[: name.start()].removesuffix("metadata/")
    file = f"{kind}_{name[1]}.npy"
    for place in (f"{folder}{file}", f"{folder}{kind}/{file}"):
        if place in places.below(place):
            with places.file(place) as path:
                return ArrayFile(location=place, digest=file_digest(path))
    return None


DESCRIBE: dict[str, tuple[str, Describe]] = {
    "webdataset": (".tar", describe_tar),
    "parquet": (".parquet", describe_parquet),
    "links": (".parquet", describe_links),
}
"""Form -> ending of its files, and how one is described."""


def describe_shards(form: str, place: str, places: Places) -> Iterator[UpstreamShard]:
    """Every shard of that form at or below the place, by name."""
    if form == "image_folder":
        return described_each(form, image_folders(places.below(place.rstrip("/") + "/")), places)
    return described_each(form, shard_files(form, places.below(place), place), places)


def described_each(
    form: str, shards: Sequence[str], places: Places, tell: Tell = tell_at_terminal
) -> Iterator[UpstreamShard]:
    """`shards`: the place of each. Those that hold no image are left out."""
    describe: Describe = describe_folder if form == "image_folder" else DESCRIBE[form][1]
    for shard in shards:
        try:
            yield describe(shard, places, tell)
        except EmptyShard as problem:
            tell(f"left out: {problem.detail}")


def shard_files(form: str, files: Sequence[str], place: str, tell: Tell = tell_at_terminal) -> list[str]:
    """Those of `files`, found below `place`, that are shards. Raises UnreadableSource, naming them, where some are
    compressed."""
    ending, _ = DESCRIBE[form]
    found = [file for file in files if file.lower().endswith((ending, *COMPRESSED))]
    shown = [file for file in found if not is_hidden(file)]
    if len(shown) < len(found):
        tell(f"left out: {len(found) - len(shown)} hidden files below {place}")
    compressed = [file for file in shown if file.lower().endswith(COMPRESSED)]
    if ending == ".tar" and compressed:
        detail = f"{len(compressed)} archives below {place} are compressed ({', '.join(compressed[:NAMES_SHOWN])})"
        raise UnreadableSource(f"{detail}: unpack each to a plain .tar, as by gunzip", code="compressed_tar")
    return [file for file in shown if file not in compressed]


def _some(place: str, images: int) -> int:
    if images == 0:
        raise EmptyShard(f"{place} holds no image")
    return images


def _tell_unused(place: str, unused: Reasons, tell: Tell) -> None:
    for reason, count in sorted(unused.counts.items()):
        more = ", ..." if count > NAMES_SHOWN else ""
        tell(f"{place}: {count} {reason} ({', '.join(unused.names[reason][:NAMES_SHOWN])}{more})")


def image_folders(files: Sequence[str]) -> list[str]:
    """The folders that images among the files lie directly in, sorted."""
    images = (file for file in files if is_image_name(PurePosixPath(file)))
    return sorted({image.rpartition("/")[0] for image in images}, key=PurePosixPath)
