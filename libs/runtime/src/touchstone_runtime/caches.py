"""Caches that forget what was used longest ago once all together exceed a number of bytes, and count their use.

metrics.py tells Prometheus."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


@dataclass
class CacheUse:
    hits: int = 0
    misses: int = 0

    def count(self, hit: bool) -> None:
        if hit:
            self.hits += 1
        else:
            self.misses += 1


class ByteCache(Generic[KeyT, ValueT]):
    """Keeps at most `budget` bytes, and whatever its size the value that came last: it is in use. Threads may share
    one."""

    def __init__(self, budget: int, size_of: Callable[[ValueT], int]) -> None:
        self.budget, self._size_of = budget, size_of
        self._values: OrderedDict[KeyT, tuple[ValueT, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._size = 0
        self.use = CacheUse()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: KeyT) -> ValueT | None:
        with self._lock:
            found = self._values.get(key)
            self.use.count(found is not None)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def get_or_make(self, key: KeyT, make: Callable[[], ValueT]) -> ValueT:
        """What it has, or what `make` gives, which it has from then on."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def put(self, key: KeyT, value: ValueT) -> None:
        with self._lock:
            self._forget(key)
            self._values[key] = value, self._size_of(value)
            self._size += self._values[key][1]
            while self._size > self.budget and len(self._values) > 1:
                self._forget(next(iter(self._values)))

    def forget(self, key: KeyT) -> None:
        with self._lock:
            self._forget(key)

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
            self._size = 0

    def _forget(self, key: KeyT) -> None:
        _, size = self._values.pop(key, (None, 0))
        self._size -= size
