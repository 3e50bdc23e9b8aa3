"""A worker that nobody needs ends itself: the counterpart of an autoscaler that only ever starts workers.

Nobody else can end one without killing a step: who is busy is known here alone."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from touchstone_runtime.logs import get_logger

log = get_logger(__name__)


class IdleTime:
    """Seconds since the last step ended, or since `begin`; starting up and a running step are no idle time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def begin(self) -> None:
        self._since = self._clock()

    @contextmanager
    def busy(self) -> Iterator[None]:
        self._since = None
        try:
            yield
        finally:
            self.begin()

    def seconds(self) -> float:
        since = self._since  # read once: the step may end meanwhile
        return 0.0 if since is None else self._clock() - since


def leave_when_idle(idle: IdleTime, limit: float) -> None:
    """From now on, asks this process to end (SIGTERM to itself) once it was idle for `limit` seconds; 0 is never.

    Celery's handler of that signal must be installed. Its warm shutdown follows: a step that began in this very moment
    is finished, and a message that arrives later goes back to its queue."""
    idle.begin()
    if limit:
        threading.Thread(target=_leave, args=(idle, limit), name="idle", daemon=True).start()


def _leave(idle: IdleTime, limit: float) -> None:
    paced = threading.Event()
    while (left := limit - idle.seconds()) > 0:
        paced.wait(left)
    log.info("worker.idle", seconds=limit)
    os.kill(os.getpid(), signal.SIGTERM)
