"""From a source's rows to an image set: every image is decoded once before anything else may touch it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_encoders.decoding import UndecodableImage, decode_image
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.ingest.source import ImageSource, SourceRow

DECODERS = 4
"""Threads; Pillow decodes outside the interpreter lock."""
BATCH = 256

Rejected = dict[str, int]


def write_source(
    source: ImageSource, artifacts: Artifacts, progress: ProgressFunction = no_progress
) -> tuple[ImageSet, Rejected]:
    """The decodable images in file order, bytes as they are, and how many were refused by reason.

    Raises Invalid when none is left."""
    writer, rejected = ImageSetWriter(artifacts), Counter[str]()
    rows = source.rows()
    with ThreadPoolExecutor(DECODERS) as decoders:
        done = 0
        while batch := list(islice(rows, BATCH)):
            for row, outcome in zip(batch, decoders.map(_size_or_reason, batch), strict=True):
                if isinstance(outcome, str):
                    rejected[outcome] += 1
                else:
                    assert row.image is not None
                    writer.add(row.image, _record(row, source, outcome))
            done += len(batch)
            progress(done, source.count)
    if done == rejected.total():
        raise Invalid(f"none of {done} images can be used: {dict(rejected)}", code="no_usable_image")
    return writer.finish(), dict(sorted(rejected.items()))


def _size_or_reason(row: SourceRow) -> tuple[int, int] | str:
    """Width and height, or why the image is refused."""
    if row.image is None:
        return "missing_bytes"
    try:
        return decode_image(row.image).size
    except UndecodableImage as error:
        return error.code


def _record(row: SourceRow, source: ImageSource, size: tuple[int, int]) -> ImageRecord:
    return ImageRecord(
        width=size[0],
        height=size[1],
        source_kind=source.kind,
        source_key=row.key,
        class_id=row.class_id,
        caption=row.caption,
        cluster=row.cluster,
    )
