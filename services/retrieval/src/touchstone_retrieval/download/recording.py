"""Writing what links gave as an image set, with a row of the link report for each that was tried."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Any

import pyarrow as pa
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import ImagesDownloaded
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter, save_image_set
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.download.obtaining import OBTAINED, FetchAll, Link, Tried, obtain
from touchstone_retrieval.download.placeholders import PLACEHOLDER, Pictures

REPORT = pa.schema(
    [
        ("url", pa.string()),
        ("reserve", pa.bool_()),
        ("outcome", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("thumbnail", pa.binary()),
    ]
)

_Row = dict[str, Any]
"""Of the report, and the number of the `picture`, which is not written."""


async def record_images(
    wanted: Sequence[Link],
    reserve: Iterable[Link],
    class_id: int,
    fetch: FetchAll,
    artifacts: Artifacts,
    progress: ProgressFunction = no_progress,
    placeholder_links: int | None = None,
) -> ImagesDownloaded:
    """The obtained images in the order of their links, bytes as they came."""
    writer, report, pictures = ImageSetWriter(artifacts), list[_Row](), Pictures(placeholder_links)
    written = 0
    async with aclosing(obtain(wanted, reserve, fetch, pictures)) as tries:
        async for tried in tries:
            if tried.outcome == OBTAINED:
                writer.add(tried.image, _record(tried, class_id))
                written += 1
            report.append(_reported(tried, pictures))
            progress(written, len(wanted))
    images = _without_placeholders(writer.finish(), report, pictures, artifacts)
    outcomes = Counter(row["outcome"] for row in report)
    del outcomes[OBTAINED]
    return ImagesDownloaded(
        images=images,
        requested=len(wanted),
        rejected=dict(sorted(outcomes.items())),
        topped_up=sum(row["reserve"] and row["outcome"] == OBTAINED for row in report),
        links=artifacts.put_table(pa.Table.from_pylist(report, REPORT)),
    )


def _without_placeholders(
    images: ImageSet, report: Sequence[_Row], pictures: Pictures, artifacts: Artifacts
) -> ImageSet:
    """Without what was written before enough links had led to it; the report is corrected."""
    obtained = [row for row in report if row["outcome"] == OBTAINED]
    stays = [not pictures.is_placeholder(row["picture"]) for row in obtained]
    for row in report:
        if row["picture"] >= 0 and pictures.is_placeholder(row["picture"]):
            row["outcome"] = PLACEHOLDER
    if all(stays):
        return images
    return save_image_set(artifacts, artifacts.get_table(images.manifest).filter(pa.array(stays)), images.shards)


def _record(tried: Tried, class_id: int) -> ImageRecord:
    link = tried.link
    return ImageRecord(
        width=tried.size[0],
        height=tried.size[1],
        source_kind="upstream",
        source_key=link.url,
        class_id=class_id,
        caption=link.caption,
        found_by=link.found_by,
        similarity=link.similarity,
    )


def _reported(tried: Tried, pictures: Pictures) -> _Row:
    digest = sha256(tried.image) if tried.image else ""
    return {
        "url": tried.link.url,
        "reserve": tried.reserve,
        "outcome": tried.outcome,
        "sha256": digest,
        "bytes": len(tried.image),
        "thumbnail": pictures.thumbnail(tried.picture),
        "picture": tried.picture,
    }
