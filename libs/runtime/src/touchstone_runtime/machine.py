"""A machine that fails: its disk or its GPU. The step is tried again elsewhere, and this process makes way for a clean
one, because neither a full disk nor a broken CUDA context gets better while it lives."""

import errno
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

from touchstone_contracts.problems import Transient

from touchstone_runtime.logs import get_logger
from touchstone_runtime.memory import causes

log = get_logger(__name__)

BROKEN_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
BROKEN_DEVICE = ("CUDA error: ", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")
"""Parts of torch's messages after which nothing works on the device until the process ends."""
NEEDED_BYTES = 2**20
"""That must fit on the disk before a worker asks for work."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds between two looks at a disk that cannot be written to; the last one again and again."""


class DiskFailure(Transient):
    code = "disk_failure"
    title = "The worker's disk failed"


class DeviceFailure(Transient):
    code = "device_failure"
    title = "The worker's GPU failed"


def machine_failure(error: Exception) -> Transient | None:
    """What of the machine failed, where that is what `error` or its cause say; memory that ran out is memory.py's."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in BROKEN_DISK:
            said = cause.strerror or str(cause)
            return DiskFailure(
                f"{said}: {cause.filename or tempfile.gettempdir()}. Give the worker room there (TMPDIR names its "
                "scratch folder); it starts again once it can write"
            )
        if isinstance(cause, RuntimeError) and any(part in str(cause) for part in BROKEN_DEVICE):
            return DeviceFailure(
                f"{str(cause).partition(chr(10))[0][:300]}. The worker starts again with a clean device; if this "
                "happens on one machine alone, look at its driver's log"
            )
    return None


def end_process() -> None:
    """Asks this process to end as an operator would: whoever manages it starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


def wait_for_disk(folder: Path | None = None, pause: Callable[[float], None] = time.sleep) -> None:
    """Returns once something can be written to the scratch folder: a worker that cannot would fail all it takes."""
    scratch = folder or Path(tempfile.gettempdir())
    pauses: Iterator[float] = chain(PAUSES, repeat(PAUSES[-1]))
    while (failure := _write(scratch)) is not None:
        seconds = next(pauses)
        log.error("worker.waits_for_disk", folder=str(scratch), error=failure, next_look_in=seconds)
        pause(seconds)


def _write(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(NEEDED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return str(error)
    return None
