"""Places at which a test may tell a process to die: before and after whatever another process could see.

`TOUCHSTONE_CRASH_FOLDER` names a folder. A file `<point>.before` or `<point>.after` in it arms that place: the first
process that comes there takes the file away and is gone as if somebody had killed it, once. Without the variable
nothing happens, and no service reads it elsewhere."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

FOLDER = Path(found) if (found := os.environ.get("TOUCHSTONE_CRASH_FOLDER")) else None


@contextmanager
def crash_point(name: str) -> Iterator[None]:
    """Around one write that others see. Its place after it is not reached when it raises."""
    reach(f"{name}.before")
    yield
    reach(f"{name}.after")


@contextmanager
def crash_points(names: Iterable[str]) -> Iterator[None]:
    """Around one write that is several things at once, as a transaction is. Of the places after it, plans' come first:
    what steps do happens again."""
    with ExitStack() as places:
        for name in sorted(names, reverse=True):
            places.enter_context(crash_point(name))
        yield


def reach(place: str) -> None:
    """Dies here if the place is armed."""
    if FOLDER is None:
        return
    try:
        os.rename(FOLDER / place, FOLDER / f"{place}.died")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
