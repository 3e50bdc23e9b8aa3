"""What files are, by their names: nobody has to say which layout a data set has."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from touchstone_contracts.catalogue import ImageColumns, LinkColumns
from touchstone_contracts.locations import Layout
from touchstone_contracts.problems import Invalid, in_words

from touchstone_retrieval.describe.listing import NAMES_SHOWN, FoundFile
from touchstone_retrieval.describe.shards import COMPRESSED
from touchstone_retrieval.ingest.column_names import OF_IMAGES, OF_LINKS, find_columns
from touchstone_retrieval.ingest.folder_source import is_image_name
from touchstone_retrieval.ingest.link_files import is_text
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.parquet_reading import open_parquet

TARS = (".tar", *COMPRESSED)
WORDS = {"tar": "tar shards", "parquet": "parquet files", "image": "images"}


class UnknownLayout(Invalid):
    code = "unknown_layout"
    title = "Unknown layout"


@contextmanager
def recognised_upstream(
    files: Sequence[FoundFile], reader: LocationReader, columns: Mapping[str, str]
) -> Iterator[tuple[Layout, LocationReader]]:
    """The layout, and a reader that holds the file that was opened to find it. `columns`: what a column holds -> its
    name, where it is known. Raises UnknownLayout, which says what was found."""
    if not any(map(_kind, files)) and any(is_text(file.location) for file in files):
        yield "links", reader
        return
    kind = _kind_of(files, "webdataset, parquet, links or image_folder")
    if kind != "parquet":
        yield "webdataset" if kind == "tar" else "image_folder", reader
        return
    first = next(file.location for file in files if _kind(file) == "parquet")
    with reader.holding(first) as held:
        yield _layout_of(first, held, columns), held


def _layout_of(table: str, reader: LocationReader, columns: Mapping[str, str]) -> Layout:
    if {"url", "image"} & set(columns):
        return "links" if "url" in columns else "parquet"
    with reader.file(table) as path:
        names = open_parquet(path, table).names
    has_links = find_columns(names, LinkColumns(), OF_LINKS, table)["url"]
    has_images = find_columns(names, ImageColumns(), OF_IMAGES, table)["image"]
    return "links" if has_links and not has_images else "parquet"


def recognised_labelled(files: Sequence[FoundFile]) -> Layout:
    """Raises UnknownLayout, which says what was found."""
    kind = _kind_of(files, "webdataset, parquet or class_folders")
    return {"tar": "webdataset", "parquet": "parquet", "image": "class_folders"}[kind]  # type: ignore[return-value]


def _kind_of(files: Sequence[FoundFile], layouts: str) -> str:
    kinds = Counter(kind for file in files if (kind := _kind(file)))
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds:
        found = in_words([f"{count} {WORDS[kind]}" for kind, count in kinds.items()], "and")
        raise UnknownLayout(f"found {found}: name the files by a pattern, such as */*.tar, or say `layout` ({layouts})")
    endings = Counter(PurePosixPath(file.path).suffix or "no ending" for file in files)
    found = in_words([f"{count} with {ending}" for ending, count in endings.most_common(NAMES_SHOWN)], "and")
    raise UnknownLayout(
        f"found {len(files)} files ({found}), such as {files[0].path}, and none is an image, a .tar or a .parquet file"
    )


def _kind(file: FoundFile) -> str | None:
    name = file.path.lower()
    if name.endswith(TARS):
        return "tar"
    if name.endswith(".parquet"):
        return "parquet"
    return "image" if is_image_name(PurePosixPath(name)) else None
