"""A least-recently-used cache with a budget in bytes, which counts its use."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache  # type: ignore[import-untyped]
from touchstone_runtime.caches import CacheUse

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class ByteCache(Generic[KeyT, ValueT]):
    """Forgets the values used longest ago once all together exceed `budget` bytes; larger ones are never kept."""

    def __init__(self, budget: int, size_of: Callable[[ValueT], int]) -> None:
        self._values: LRUCache[KeyT, ValueT] = LRUCache(budget, getsizeof=size_of)
        self.use = CacheUse()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: KeyT) -> ValueT | None:
        found: ValueT | None = self._values.get(key)
        self.use.count(found is not None)
        return found

    def put(self, key: KeyT, value: ValueT) -> None:
        if self._values.getsizeof(value) <= self._values.maxsize:
            self._values[key] = value
