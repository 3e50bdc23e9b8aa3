"""A least-recently-used cache with a budget in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from touchstone_runtime.caches import CacheUse

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class ByteCache(Generic[KeyT, ValueT]):
    """Forgets the values used longest ago once all together exceed `budget` bytes; larger ones are never kept."""

    def __init__(self, budget: int, size_of: Callable[[ValueT], int]) -> None:
        self._budget, self._size_of = budget, size_of
        self._values: OrderedDict[KeyT, ValueT] = OrderedDict()
        self._used = 0
        self.use = CacheUse()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: KeyT) -> ValueT | None:
        self.use.count(key in self._values)
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: KeyT, value: ValueT) -> None:
        if key in self._values or self._size_of(value) > self._budget:
            return
        self._values[key] = value
        self._used += self._size_of(value)
        while self._used > self._budget:
            _, forgotten = self._values.popitem(last=False)
            self._used -= self._size_of(forgotten)
