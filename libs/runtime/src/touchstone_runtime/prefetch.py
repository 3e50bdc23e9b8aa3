"""What is made by threads while its taker works on what came before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
MadeT = TypeVar("MadeT")


def made_ahead(make: Callable[[ItemT], MadeT], items: Iterable[ItemT], *, threads: int, ahead: int) -> Iterator[MadeT]:
    """`make` of each of `items`, in order. At most `ahead` wait, made or in the making."""
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: deque[Future[MadeT]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
