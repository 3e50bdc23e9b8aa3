"""Waiting for what another process is about to do."""

import time
from collections.abc import Callable
from typing import TypeVar

ValueT = TypeVar("ValueT")


def until(look: Callable[[], ValueT | None], within: float) -> ValueT:
    """What `look` gives once that is true. Fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r} after {within:g} seconds"
        time.sleep(0.1)
    return found
