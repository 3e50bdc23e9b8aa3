"""A sample of the images behind a table of links, to compare given embeddings with."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from touchstone_contracts.sources import AllowedSources

from touchstone_retrieval.download.fetching import Fetcher, Limits, open_session
from touchstone_retrieval.download.obtaining import OBTAINED, Link, obtain
from touchstone_retrieval.download.placeholders import Pictures

IMAGES = 32
LINKS = 128
"""Tried at most: of old collections half of the links are dead."""
SECONDS = 60.0
"""For all of them together."""
LIMITS = Limits(timeout_seconds=10, retries=0)


class SampledImage(NamedTuple):
    position: int
    """Index of its link in the list of links."""
    image: bytes


async def sample_images(
    links: Sequence[Link],
    private_addresses: bool,
    allowed: AllowedSources,
    *narrower: AllowedSources,
    limits: Limits = LIMITS,
    seconds: float = SECONDS,
) -> list[SampledImage]:
    """Up to IMAGES, of the first LINKS links, as far as they come within `seconds`, and each picture once. Pictures
    that are not the one of the table, and those whose owners opted out, are passed over."""
    found: list[SampledImage] = []
    async with open_session(private_addresses, allowed, *narrower) as session:
        fetch = FetchUntil(Fetcher(session, limits), asyncio.get_running_loop().time() + seconds).fetch_all
        async with aclosing(obtain(links[:IMAGES], links[IMAGES:LINKS], fetch, Pictures(None))) as tries:
            position = 0
            async for tried in tries:
                if tried.outcome == OBTAINED:
                    found.append(SampledImage(position, tried.image))
                position += 1
    return found


class FetchUntil:
    """Links that have given nothing when the time is over have timed out."""

    def __init__(self, fetcher: Fetcher, deadline: float) -> None:
        self._fetcher, self._deadline = fetcher, deadline

    async def fetch_all(self, urls: Sequence[str]) -> AsyncIterator[bytes | str]:
        """For each URL, in order, its bytes or why there are none."""
        tasks = [asyncio.create_task(self._fetcher.fetch(url)) for url in urls]
        left = max(0.0, self._deadline - asyncio.get_running_loop().time())
        late = (await asyncio.wait(tasks, timeout=left))[1] if tasks else set()
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in tasks:
            yield "timeout" if task in late else task.result()
