"""The embeddings that lie beside a table of links, in the layouts that they are published in."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from touchstone_contracts.catalogue import ArrayFile
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest

from touchstone_retrieval.ingest.array_files import NotAnArray, array_names
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.source import UnreadableSource

FOLDERS = {"img_emb": ("img_emb", "images"), "text_emb": ("text_emb", "texts")}
"""Kind of array -> the folders that clip-retrieval and LAION-400M have it in, beside their folder `metadata`."""
IMAGES, CAPTIONS = "_img", "_txt"
"""What DataComp's names of arrays end with."""
_NUMBERED = re.compile(r"metadata_(\d+)\.[\w.]+$")
_ENDING = re.compile(r"\.\w+(\.gz)?$")
ABSENT = ("place_missing", "place_refused")
"""A server that does not list its files may answer either for one that is not there."""

Pair = tuple[ArrayFile | None, ArrayFile | None]
"""Embeddings of images and of captions."""


def embeddings_beside(table: str, reader: LocationReader, wanted: str | None) -> Pair:
    """`wanted`: which ones of an `.npz` file, e.g. `l14`. Raises Invalid where they are not there or it is not said
    which of several, UnreadableSource where a file is no archive of arrays."""
    pair = _numbered(table, reader) if wanted is None else (None, None)
    return pair if any(pair) else _in_npz(table, reader, wanted)


def _numbered(table: str, reader: LocationReader) -> Pair:
    """`img_emb_<n>.npy` and `text_emb_<n>.npy` of `metadata_<n>.parquet`."""
    name = _NUMBERED.search(table)
    if name is None:
        return None, None
    root = table[: name.start()].removesuffix("metadata/")
    images, captions = (_npy(root, kind, f"{kind}_{name[1]}.npy", reader) for kind in FOLDERS)
    return images, captions


def _npy(root: str, kind: str, file: str, reader: LocationReader) -> ArrayFile | None:
    for location in (f"{root}{file}", *(f"{root}{folder}/{file}" for folder in FOLDERS[kind])):
        with _fetched(location, reader) as path:
            if path is not None:
                return ArrayFile(location=location, digest=file_digest(path))
    return None


def _in_npz(table: str, reader: LocationReader, wanted: str | None) -> Pair:
    """Of `<name>.npz` beside `<name>.parquet`."""
    location = _ENDING.sub(".npz", table)
    with _fetched(location, reader) as path:
        if path is None:
            if wanted is None:
                return None, None
            raise Invalid(
                f"{table} has no {location} beside it, which would hold {wanted}{IMAGES}", code="place_missing"
            )
        names, digest = _arrays(path, location), file_digest(path)
    pair = _chosen(names, wanted, location)
    image, caption = (
        ArrayFile(location=location, digest=digest, array=f"{pair}{of}") if f"{pair}{of}" in names else None
        for of in (IMAGES, CAPTIONS)
    )
    return image, caption


def _arrays(path: Path, location: str) -> Sequence[str]:
    try:
        return array_names(path)
    except NotAnArray as error:
        raise UnreadableSource(f"{location} {error}") from error


def _chosen(names: Sequence[str], wanted: str | None, location: str) -> str:
    pairs = sorted({name.removesuffix(of) for name in names for of in (IMAGES, CAPTIONS) if name.endswith(of)})
    if wanted is None and len(pairs) == 1:
        return pairs[0]
    if wanted is not None and wanted in pairs:
        return wanted
    held = f"holds embeddings {', '.join(pairs)}" if pairs else f"holds no array whose name ends with {IMAGES}"
    asked = f"and not {wanted}" if wanted is not None else "say which in `embeddings`"
    raise Invalid(f"{location} {held}: {asked}", code="unknown_embeddings")


@contextmanager
def _fetched(location: str, reader: LocationReader) -> Iterator[Path | None]:
    """None where it is not there."""
    with ExitStack() as held:
        try:
            path = held.enter_context(reader.file(location)) if location in reader.below(location) else None
        except Invalid as problem:
            if problem.code not in ABSENT:
                raise
            path = None
        yield path
