"""Points at which a test may tell a process to die: before and after whatever another process could see.

`TOUCHSTONE_CRASH_FOLDER` names a folder. A file `<name>.before` or `<name>.after` in it arms that point: the first
process that reaches it renames the file and dies as if somebody had killed it, once. Without the variable nothing
happens, and no service reads it elsewhere."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

FOLDER = Path(found) if (found := os.environ.get("TOUCHSTONE_CRASH_FOLDER")) else None


@contextmanager
def crash_point(name: str) -> Iterator[None]:
    """Around one write that others see. The point after it is not reached when the write raises."""
    reach(f"{name}.before")
    yield
    reach(f"{name}.after")


@contextmanager
def crash_points(names: Iterable[str]) -> Iterator[None]:
    """Around one write that is several things at once, as a transaction is. Of the points after it, those of plans come
    first, because what steps do happens again."""
    with ExitStack() as points:
        for name in sorted(names, reverse=True):
            points.enter_context(crash_point(name))
        yield


def reach(point: str) -> None:
    """Kills this process if the point is armed."""
    if FOLDER is None:
        return
    try:
        os.rename(FOLDER / point, FOLDER / f"{point}.died")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
