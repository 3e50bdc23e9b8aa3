"""Batches of a fixed shape in which every row of the prompt table has its own slot."""

from collections.abc import Iterator


def batches(first: int, last: int, size: int) -> Iterator[range]:
    """Cuts rows first..last-1 at multiples of `size`.

    Row i sits in slot i mod size of its batch, whatever chunk asks for it. Arithmetic may depend on the shape of a
    batch and on the place in it, never on what fills the other slots: so any split into chunks gives the same bytes.
    A chunk that starts and ends at multiples of `size` wastes nothing."""
    for start in range(first - first % size, last, size):
        yield range(max(start, first), min(start + size, last))
