"""From a file or folder to its catalogue entry: read once, so that later nobody has to trust it."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from touchstone_contracts.catalogue import (
    ArrayFile,
    ClassFolders,
    ImageColumns,
    ImageFolder,
    LinkColumns,
    LinkTable,
    TarShard,
    UpstreamShard,
)
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest, listing_digest

from touchstone_retrieval.describe.class_folders import on_disk, require_named_once
from touchstone_retrieval.describe.tables import EmptyShard, columns_of, describe_parquet, opened_parquet, some
from touchstone_retrieval.ingest.caption_table import read_captions
from touchstone_retrieval.ingest.column_names import OF_LINKS, find_columns, require_found
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
from touchstone_retrieval.ingest.places import Places
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_retrieval.ingest.tar_samples import index_samples, is_hidden

_METADATA = re.compile(r"metadata_(\d+)\.parquet$")


COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
NAMES_SHOWN = 3


def tell_at_terminal(line: str) -> None:
    """Beside the catalogue, which goes to standard output."""
    print(line, file=sys.stderr)


Tell = Callable[[str], None]
"""Takes what was left out, in words."""


def describe_tar(place: str, places: Places, tell: Tell = tell_at_terminal) -> TarShard:
    """Raises UnreadableSource when the tar is compressed or cut off, EmptyShard when it holds no image."""
    with places.file(place) as path:
        samples, digest = index_samples(path, place), file_digest(path)
    _tell_unused(place, samples.unused, tell)
    return TarShard(location=place, digest=digest, images=some(place, len(samples.by_key)))


def describe_folder(place: str, places: Places, tell: Tell = tell_at_terminal) -> ImageFolder:
    with places.folder(place, in_image_folder) as folder:
        images = images_in(folder)
        described = with_captions(folder, images)
        digest = listing_digest(folder, described)
        unused = read_captions(folder, (path.name for path in images), place).unused
        note_unused(folder, described, unused)
    _tell_unused(place, unused, tell)
    return ImageFolder(location=place, digest=digest, images=len(images))


def describe_class_folders(
    place: str, folders: Sequence[str], places: Places, tell: Tell = tell_at_terminal
) -> ClassFolders:
    """Raises Invalid, naming it, when a folder is missing, named twice or belongs to no class."""
    require_named_once(folders)
    with places.folder(place, is_image_name) as root:
        folders = [on_disk(root, folder) for folder in folders]
        require_named_folders(root, folders, place)
        refuse_other_folders(root, folders, place)
        images = labelled_images(root, folders)
        digest = listing_digest(root, images)
        unused = Reasons()
        note_unused(root, images, unused, deep=True)
    _tell_unused(place, unused, tell)
    return ClassFolders(location=place, digest=digest, images=len(images), folders=tuple(folders))


def describe_links(
    place: str, places: Places, columns: LinkColumns | None = None, most_unsafe: float | None = None
) -> LinkTable:
    """`metadata_<n>.parquet` with `img_emb_<n>.npy` and, if it is there, `text_emb_<n>.npy`: beside it, or in folders
    `img_emb` and `text_emb` beside the folder `metadata`, as clip-retrieval lays them out."""
    columns = columns or LinkColumns()
    file, digest = opened_parquet(place, places)
    rows = some(place, file.count)
    found = find_columns(file.names, columns, OF_LINKS, place)
    unsafe = () if most_unsafe is None else ("unsafe",)
    require_found(found, ("url", "caption", *unsafe), file.names, place)
    image = _array(place, "img_emb", places)
    if image is None:
        raise Invalid(f"{place} has no img_emb of its number", code="place_missing")
    return LinkTable(
        location=place,
        digest=digest,
        images=rows,
        image_embeddings=image,
        caption_embeddings=_array(place, "text_emb", places),
        columns=columns,
        most_unsafe=most_unsafe,
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


ENDINGS = {"webdataset": ".tar", "parquet": ".parquet", "links": ".parquet"}
"""Of the files of a form."""


def describe_shards(
    form: str, place: str, places: Places, columns: Sequence[str] = (), most_unsafe: float | None = None
) -> Iterator[UpstreamShard]:
    """Every shard of that form at or below the place, by name. `columns`: see columns_of."""
    if form == "image_folder":
        found = image_folders(places.below(place.rstrip("/") + "/"))
    else:
        found = shard_files(form, places.below(place), place)
    return described_each(form, found, places, columns=columns, most_unsafe=most_unsafe)


def described_each(
    form: str,
    shards: Sequence[str],
    places: Places,
    tell: Tell = tell_at_terminal,
    *,
    columns: Sequence[str] = (),
    most_unsafe: float | None = None,
) -> Iterator[UpstreamShard]:
    """`shards`: the place of each. Those that hold no image are left out."""
    for shard in shards:
        try:
            match form:
                case "image_folder":
                    yield describe_folder(shard, places, tell)
                case "webdataset":
                    yield describe_tar(shard, places, tell)
                case "parquet":
                    yield describe_parquet(shard, places, columns_of(ImageColumns, columns))
                case _:
                    yield describe_links(shard, places, columns_of(LinkColumns, columns), most_unsafe)
        except EmptyShard as problem:
            tell(f"left out: {problem.detail}")


def shard_files(form: str, files: Sequence[str], place: str, tell: Tell = tell_at_terminal) -> list[str]:
    """Those of `files`, found below `place`, that are shards. Raises UnreadableSource, naming them, where some are
    compressed."""
    ending = ENDINGS[form]
    found = [file for file in files if file.lower().endswith((ending, *COMPRESSED))]
    shown = [file for file in found if not is_hidden(file)]
    if len(shown) < len(found):
        tell(f"left out: {len(found) - len(shown)} hidden files below {place}")
    compressed = [file for file in shown if file.lower().endswith(COMPRESSED)]
    if ending == ".tar" and compressed:
        detail = f"{len(compressed)} archives below {place} are compressed ({', '.join(compressed[:NAMES_SHOWN])})"
        raise UnreadableSource(f"{detail}: unpack each to a plain .tar, as by gunzip", code="compressed_tar")
    return [file for file in shown if file not in compressed]


def _tell_unused(place: str, unused: Reasons, tell: Tell) -> None:
    for reason, count in sorted(unused.counts.items()):
        more = ", ..." if count > NAMES_SHOWN else ""
        tell(f"{place}: {count} {reason} ({', '.join(unused.names[reason][:NAMES_SHOWN])}{more})")


def image_folders(files: Sequence[str]) -> list[str]:
    """The folders that images among the files lie directly in, sorted."""
    images = (file for file in files if is_image_name(PurePosixPath(file)))
    return sorted({image.rpartition("/")[0] for image in images}, key=PurePosixPath)
