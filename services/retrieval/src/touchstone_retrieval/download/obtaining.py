"""From ranked links of one class to its images, and from which link each came or why not."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.identity import sha256
from touchstone_runtime.inspection import inspector

from touchstone_retrieval.download.placeholders import PLACEHOLDER, Pictures
from touchstone_retrieval.ingest.link_table import link_id

OBTAINED = "obtained"

FetchAll = Callable[[Sequence[str]], AsyncIterator[bytes | str]]
"""URLs -> for each, in order, the bytes or why there are none."""


@dataclass(frozen=True)
class Link:
    """A row of a retrieved link manifest."""

    url: str
    id: str
    """sha256 of the image as its table states it, else of the URL."""
    caption: str
    found_by: str
    similarity: float
    drop_reason: str
    """Why it must not be fetched, or empty."""


@dataclass(frozen=True)
class Tried:
    link: Link
    reserve: bool
    outcome: str
    """`obtained`, or the reason why not. What is obtained may turn out to be a placeholder later."""
    image: bytes = b""
    size: tuple[int, int] = (0, 0)
    picture: int = -1
    """Number of the picture that the image shows, where it is one."""


async def obtain(
    wanted: Sequence[Link], reserve: Iterable[Link], fetch: FetchAll, pictures: Pictures
) -> AsyncGenerator[Tried]:
    """Every link tried, in order: `wanted`, then as many of `reserve` as images are missing, again and again until none
    is missing or the reserve ends.

    An image that was obtained is missing, too, once `pictures` takes what it shows for a placeholder."""
    seen: dict[str, int] = {}
    turn, left, topping_up = list(wanted), iter(reserve), False
    while turn:
        async for link, fetched in _fetched(turn, fetch):
            # In a thread: links that are under way must not run into their limit of time meanwhile.
            tried = await asyncio.to_thread(_judge, link, topping_up, fetched, seen, pictures)
            if tried.outcome == OBTAINED:
                seen[sha256(tried.image)] = tried.picture
            yield tried
        obtained = sum(not pictures.is_placeholder(picture) for picture in seen.values())
        turn, topping_up = list(islice(left, len(wanted) - obtained)), True


async def _fetched(links: Sequence[Link], fetch: FetchAll) -> AsyncIterator[tuple[Link, bytes | str]]:
    """Yields every link in order. Those with a drop reason are not fetched."""
    answers = fetch([link.url for link in links if not link.drop_reason])
    for link in links:
        yield link, link.drop_reason or await anext(answers)


def _judge(link: Link, reserve: bool, fetched: bytes | str, seen: Mapping[str, int], pictures: Pictures) -> Tried:
    if isinstance(fetched, str):
        return Tried(link, reserve, fetched)
    digest = sha256(fetched)
    if link.id not in (digest, link_id(link.url)):
        # Its embedding and caption describe what was there when the table was made.
        return Tried(link, reserve, "changed")
    outcome = (0, 0) if digest in seen else inspector().outcome(fetched)
    if isinstance(outcome, str):
        return Tried(link, reserve, outcome)
    picture = pictures.add(fetched, link.url)
    if pictures.is_placeholder(picture):
        return Tried(link, reserve, PLACEHOLDER, fetched, picture=picture)
    if digest in seen:
        return Tried(link, reserve, "duplicate", picture=picture)
    return Tried(link, reserve, OBTAINED, fetched, outcome, picture)


def links_of_class(manifest: pa.Table, class_id: int) -> list[Link]:
    """In the order of the manifest."""
    rows = manifest.filter(pc.equal(manifest["class_id"], class_id)).to_pylist()
    return [
        Link(row["source_key"], row["id"], row["caption"], row["found_by"], row["similarity"], row["drop_reason"])
        for row in rows
    ]


def ranked_reserve(found: Iterable[Link], wanted: Iterable[Link]) -> list[Link]:
    """What the deeper retrieval found beyond `wanted`: text matches as found, then the most similar first.

    Random draws go by id, which is as good as random: by similarity they would be no control."""
    taken = {link.id for link in wanted}
    return sorted((link for link in found if link.id not in taken), key=_rank)


def _rank(link: Link) -> tuple[float, str]:
    if link.found_by == "random":
        return 0.0, link.id
    is_text_match = link.similarity != link.similarity
    return (float("-inf") if is_text_match else -link.similarity), ""
