"""What is kept of a list's items between attempts, and what is not believed."""

from collections.abc import Callable, Iterator

import pytest
from touchstone_contracts.problems import Transient
from touchstone_runtime import done_items
from touchstone_runtime.done_items import DoneItems, resumed
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.savepoints import NO_SAVEPOINTS, StepSavepoints

STEP = "5a" * 32
ITEMS = [bytes([number]) * number for number in range(12)]


class Store(MemoryObjects):
    """One object store; `items` is a new attempt."""

    away = False
    puts = 0

    def put(self, key: str, data: bytes) -> None:
        if self.away:
            raise Transient("object store unreachable", code="object_store")
        self.puts += 1
        super().put(key, data)

    def items(self, made_by: str = "", *, every_seconds: float = 0.0, first: bool = False) -> DoneItems:
        return DoneItems(StepSavepoints(self, STEP, every_seconds, resumes=not first), "images", made_by)


def taken(items: DoneItems, until: int = len(ITEMS)) -> tuple[list[bytes], int]:
    """All of the list by an attempt that ends after item `until`, and how many of them were made anew."""
    made = 0

    def rest(done: int) -> Iterator[list[bytes]]:
        nonlocal made
        for start in range(done, until, 3):
            group = ITEMS[start : min(start + 3, until)]
            made += len(group)
            yield group

    return list(resumed(items, rest)), made


def test_each_attempt_makes_what_those_before_it_have_not() -> None:
    store = Store()
    assert taken(store.items(first=True), until=3) == (ITEMS[:3], 3)
    assert taken(store.items(), until=9) == (ITEMS[:9], 6)
    assert taken(store.items()) == (ITEMS, 3)
    assert taken(store.items()) == (ITEMS, 0)


def test_between_two_savepoints_nothing_is_written_unless_it_becomes_much(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    assert taken(store.items(first=True, every_seconds=3600))[1] == 12
    assert store.puts == 0
    monkeypatch.setattr(done_items, "PACK_BYTES", 10)
    assert taken(store.items(first=True, every_seconds=3600), until=9)[1] == 9
    assert store.puts == 2
    assert taken(store.items(every_seconds=3600))[1] == 3


def test_what_another_kind_of_device_made_is_made_again() -> None:
    store = Store()
    taken(store.items("cpu", first=True), until=6)
    assert taken(store.items("gpu")) == (ITEMS, 12)
    assert taken(store.items("gpu")) == (ITEMS, 0)


def lost(store: Store, key: str) -> None:
    store.remove(key)


def damaged(store: Store, key: str) -> None:
    store.put(key, store.get(key)[:-1] + b"?")


def cut(store: Store, key: str) -> None:
    store.put(key, store.get(key)[:70])


@pytest.mark.parametrize("spoil", [lost, damaged, cut])
def test_items_are_taken_up_to_the_first_pack_that_is_not_whole(spoil: Callable[[Store, str], None]) -> None:
    store = Store()
    taken(store.items(first=True))
    keys = [found.key for found in store.listed("savepoints/")]
    assert len(keys) == 4
    spoil(store, keys[1])
    assert taken(store.items(), until=6) == (ITEMS[:6], 3)
    # The packs behind it are of the same items here, and are taken again now that nothing is missing before them.
    assert taken(store.items()) == (ITEMS, 0)


def test_packs_of_attempts_that_went_different_ways_are_never_mixed() -> None:
    store = Store()
    for item in (b"a", b"b", b"c"):
        items = store.items() if item != b"a" else store.items(first=True)
        assert list(items.earlier()) == [b"a", b"b"][: ord(item) - ord("a")]
        items.add([item])
    second = sorted(found.key for found in store.listed("savepoints/"))[1]
    store.remove(second)
    again = store.items()
    assert list(again.earlier()) == [b"a"]
    again.add([b"B"])
    assert list(store.items().earlier()) == [b"a", b"B"], "c came after b, not after B"


def test_an_object_store_that_is_away_delays_a_savepoint_and_loses_nothing() -> None:
    store = Store()
    items = store.items(first=True)
    store.away = True
    items.add(ITEMS[:3])
    store.away = False
    items.add(ITEMS[3:6])
    assert list(store.items().earlier()) == ITEMS[:6]


def test_where_nothing_can_be_saved_items_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done_items, "PACK_BYTES", 10)
    items = DoneItems(NO_SAVEPOINTS, "images")
    assert taken(items) == (ITEMS, 12)
    assert items._held == []
