"""What became of each link so far is saved, so that an attempt after a kill asks for none of them again: by then a link
may be dead or lead elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from touchstone_runtime.done_items import DoneItems
from touchstone_runtime.savepoints import Savepoints

from touchstone_retrieval.download.obtaining import FetchAll

BYTES, REASON = b"+", b"-"
"""What a saved outcome begins with."""


class RememberedFetches:
    """Wraps a fetch. Each call is a list of its own: which links are asked for follows from the calls before."""

    def __init__(self, fetch: FetchAll, savepoints: Savepoints) -> None:
        self._fetch, self._savepoints, self._calls = fetch, savepoints, 0

    async def fetch_all(self, urls: Sequence[str]) -> AsyncIterator[bytes | str]:
        """For each URL, in order, its bytes or why there are none."""
        self._calls += 1
        done, count = DoneItems(self._savepoints, f"links-{self._calls}"), 0
        for item in done.earlier():
            count += 1
            yield _outcome(item)
        async for outcome in self._fetch(urls[count:]):
            # In a thread: links that are under way must not run into their limit of time meanwhile.
            await asyncio.to_thread(done.add, [_item(outcome)])
            yield outcome


def _item(outcome: bytes | str) -> bytes:
    return BYTES + outcome if isinstance(outcome, bytes) else REASON + outcome.encode()


def _outcome(item: bytes) -> bytes | str:
    return item[1:] if item.startswith(BYTES) else item[1:].decode()
