"""Batches of a fixed shape in which every row of the prompt table has its own slot."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

DraftT = TypeVar("DraftT")


def batches(first: int, last: int, size: int) -> Iterator[range]:
    """Cuts rows first..last-1 at multiples of `size`; no rows are no batch.

    Row i sits in slot i mod size of its batch, whatever chunk asks for it. Arithmetic may depend on the shape of a
    batch and on the slot in it, never on what fills the other slots: so any split into chunks gives the same bytes.
    A chunk that starts and ends at multiples of `size` wastes nothing."""
    for start in range(first - first % size, last, size) if first < last else ():
        yield range(max(start, first), min(start + size, last))


def filled(drafts: Sequence[DraftT], slot: int, size: int) -> list[DraftT]:
    """A batch of `size` with the drafts from `slot` on; the rest is padding, whose images are dropped."""
    return [drafts[0]] * slot + list(drafts) + [drafts[-1]] * (size - slot - len(drafts))
