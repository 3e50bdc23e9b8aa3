"""Writing what links gave as an image set, with a row of the link report for each that was tried."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing

import pyarrow as pa
from touchstone_contracts.identity import sha256
from touchstone_contracts.steps import ImagesDownloaded
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.download.obtaining import OBTAINED, FetchAll, Link, Tried, obtain

REPORT = pa.schema(
    [
        ("url", pa.string()),
        ("reserve", pa.bool_()),
        ("outcome", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
    ]
)


async def record_images(
    wanted: Sequence[Link],
    reserve: Iterable[Link],
    class_id: int,
    fetch: FetchAll,
    artifacts: Artifacts,
    progress: ProgressFunction = no_progress,
) -> ImagesDownloaded:
    """The obtained images in the order of their links, bytes as they came."""
    writer, outcomes, topped_up = ImageSetWriter(artifacts), Counter[str](), 0
    report: list[dict[str, object]] = []
    async with aclosing(obtain(wanted, reserve, fetch)) as tries:
        async for tried in tries:
            if tried.outcome == OBTAINED:
                writer.add(tried.image, _record(tried, class_id))
                topped_up += tried.reserve
            outcomes[tried.outcome] += 1
            report.append(_reported(tried))
            progress(outcomes[OBTAINED], len(wanted))
    images = writer.finish()
    del outcomes[OBTAINED]
    return ImagesDownloaded(
        images=images,
        requested=len(wanted),
        rejected=dict(sorted(outcomes.items())),
        topped_up=topped_up,
        links=artifacts.put_table(pa.Table.from_pylist(report, REPORT)),
    )


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


def _reported(tried: Tried) -> dict[str, object]:
    digest = sha256(tried.image) if tried.image else ""
    return {
        "url": tried.link.url,
        "reserve": tried.reserve,
        "outcome": tried.outcome,
        "sha256": digest,
        "bytes": len(tried.image),
    }
