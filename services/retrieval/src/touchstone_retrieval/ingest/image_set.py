"""From a source's rows to an image set: every image is decoded once before anything else may touch it."""

import json
from collections.abc import Iterator, Sequence

from touchstone_contracts.account import Account, in_reasons
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.done_items import DoneItems
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter
from touchstone_runtime.inspection import Outcome, inspector
from touchstone_runtime.savepoints import NO_SAVEPOINTS
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.ingest.source import ImageSource, SourceRow
from touchstone_retrieval.ingest.tally import Tally

BATCH = 256
BATCH_BYTES = 64 * 2**20
"""Encoded images that are held at once, or one image."""


def write_source(
    source: ImageSource,
    artifacts: Artifacts,
    progress: ProgressFunction = no_progress,
    done: DoneItems | None = None,
) -> tuple[ImageSet, Account]:
    """The decodable images in file order, bytes as they are, and what became of every image that the source held.

    `done`: what decoding told of the rows so far; the rows themselves are read again. Raises Invalid when none is
    left."""
    writer, tally = ImageSetWriter(artifacts), Tally()
    for row, outcome in _decoded(source.rows(), done or DoneItems(NO_SAVEPOINTS, "rows")):
        if isinstance(outcome, str):
            tally.add(row.name or row.key, outcome, row.notes)
        else:
            tally.add(row.name or row.key, "", row.notes)
            assert row.image is not None
            writer.add(row.image, _record(row, source, outcome))
        if tally.seen % BATCH == 0 or tally.seen == source.count:
            progress(tally.seen, source.count)
    account = tally.account(source.unused)
    if account.taken == 0:
        raise Invalid(
            f"none of {account.seen} images can be used: {in_reasons(account.refused)}", code="no_usable_image"
        )
    return writer.finish(), account


def _decoded(rows: Iterator[SourceRow], done: DoneItems) -> Iterator[tuple[SourceRow, Outcome]]:
    for item in done.earlier():
        outcome = json.loads(item)
        yield next(rows), outcome if isinstance(outcome, str) else (outcome[0], outcome[1])
    for batch in _batches(rows):
        outcomes = judged(batch)
        yield from zip(batch, outcomes, strict=True)
        done.add([json.dumps(outcome).encode() for outcome in outcomes])


def _batches(rows: Iterator[SourceRow]) -> Iterator[list[SourceRow]]:
    batch, size = list[SourceRow](), 0
    for row in rows:
        batch.append(row)
        size += len(row.image or b"")
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def judged(batch: Sequence[SourceRow]) -> list[Outcome]:
    """For each row the size of its image, or why it is refused."""
    found = inspector().outcomes([row.image for row in batch if row.image is not None])
    return [row.reason or "missing_bytes" if row.image is None else next(found) for row in batch]


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
