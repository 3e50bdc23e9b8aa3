"""The items of a long list that are done so far, saved now and then, so that another attempt goes on after the last.

What an item is, the handler says: an encoded image, a vector, what a link gave. They are bytes, made in order, and each
follows from its position in the list alone or from those before it. Only what is new is saved each time, as one object:
a pack. A pack names the one before it by a digest over all of them, so that packs of different attempts never mix."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from touchstone_contracts.identity import sha256

from touchstone_runtime.logs import get_logger
from touchstone_runtime.savepoints import Savepoints

log = get_logger(__name__)

PACK_BYTES = 64 * 2**20
"""A pack is saved once it holds this much, due or not: items wait for it in memory."""
BEGINNING = "0" * 64


class DoneItems:
    """Of one list of a step. First take what `earlier` gives, then `add` what comes after it."""

    def __init__(self, savepoints: Savepoints, name: str, made_by: str = "") -> None:
        """`name`: of the list within its step. `made_by`: what decides the bytes beside the request, such as the kind
        of device; what another one made is not taken."""
        self._savepoints, self._name, self._made_by = savepoints, name, made_by
        self._packs, self._chain = 0, BEGINNING
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._keeps = True

    def earlier(self) -> Iterator[bytes]:
        """What earlier attempts saved, in order; one pack in memory at a time. Raises Transient."""
        count = 0
        while (data := self._savepoints.load(self._part())) is not None:
            items = _unpacked(data, self._made_by, self._chain)
            if items is None:
                log.warning("items.of_another_kind", items=self._name, pack=self._packs)
                break
            self._follow(data)
            count += len(items)
            yield from items
        if count:
            log.info("items.resumed", items=self._name, count=count)

    def add(self, items: Sequence[bytes]) -> None:
        """What is done together and only worth something together, such as a batch. What cannot be saved is made again
        after a kill, and nothing else."""
        if not self._keeps:
            return
        self._held += items
        self._held_bytes += sum(len(item) for item in items)
        if self._savepoints.due() or self._held_bytes >= PACK_BYTES:
            self._save()

    def _save(self) -> None:
        part = self._part()
        data = _packed(self._held, self._made_by, self._chain)
        self._savepoints.save(part, data)
        if self._savepoints.saved(part):
            self._follow(data)
            self._held, self._held_bytes = [], 0
        elif self._held_bytes >= PACK_BYTES:
            # Nowhere to save them, and no memory to wait in.
            self._keeps, self._held = False, []

    def _follow(self, pack: bytes) -> None:
        self._packs += 1
        self._chain = sha256(pack)

    def _part(self) -> str:
        return f"{self._name}-{self._packs:06d}"


def resumed(done: DoneItems, rest: Callable[[int], Iterable[Sequence[bytes]]]) -> Iterator[bytes]:
    """All items of a list, in order: those of earlier attempts, then the groups that `rest(n)` makes of those after the
    first n."""
    count = 0
    for item in done.earlier():
        count += 1
        yield item
    for group in rest(count):
        done.add(group)
        yield from group


def _packed(items: Sequence[bytes], made_by: str, after: str) -> bytes:
    header = {"after": after, "made_by": made_by, "lengths": [len(item) for item in items]}
    return b"\n".join([json.dumps(header).encode(), b"".join(items)])


def _unpacked(data: bytes, made_by: str, after: str) -> list[bytes] | None:
    """None where it is no pack, or not the one that follows."""
    line, _, body = data.partition(b"\n")
    try:
        header = json.loads(line)
        if (header["made_by"], header["after"]) != (made_by, after):
            return None
        ends = [0]
        for length in header["lengths"]:
            ends.append(ends[-1] + length)
    except (ValueError, KeyError, TypeError):
        return None
    return [body[start:end] for start, end in pairwise(ends)] if ends[-1] == len(body) else None
