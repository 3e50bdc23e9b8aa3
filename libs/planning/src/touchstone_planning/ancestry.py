"""What something is made from, all the way back: arms from arms, steps from steps."""

from collections.abc import Callable, Iterable


def with_ancestors(name: str, sources: Callable[[str], Iterable[str]]) -> set[str]:
    """`name` and all it is made from, directly or not; `sources` tells the direct ones and may lead in a circle."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += sources(current)
    return found
