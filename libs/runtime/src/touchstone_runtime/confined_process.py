"""The other end of `confined`: `python -m touchstone_runtime.confined_process`, started by nobody else.

Imports first, then gives up what it does not need: memory, files, processor time, standard output and error."""

import importlib
import io
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

HEADER = struct.Struct(">cQ")
"""What a frame is and how many bytes follow."""
READY, ITEM, END, MEMORY, FAILED = b"r", b"i", b"e", b"m", b"x"

Function = Callable[[memoryview], Iterable[bytes | memoryview]]


def main(target: str, memory_bytes: int, cpu_seconds: int, open_files: int) -> None:
    module, _, name = target.partition(":")
    function: Function = getattr(importlib.import_module(module), name)
    requests, answers = os.fdopen(0, "rb", buffering=0, closefd=False), os.fdopen(os.dup(1), "wb", buffering=0)
    # What a library prints belongs neither among the answers nor, by the thousand lines, into a worker's log.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    # Systems without /proc do not limit address space.
    if Path("/proc/self/statm").exists():
        _limit(resource.RLIMIT_AS, _address_space() + memory_bytes)
    _limit(resource.RLIMIT_NOFILE, open_files)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _send(answers, HEADER.pack(READY, 0))
    while (request := _request(requests)) is not None:
        for kind, payload in _answers(function, request, cpu_seconds):
            _send(answers, HEADER.pack(kind, len(payload)))
            _send(answers, payload)
            if kind in (MEMORY, FAILED):
                return


def _limit(what: int, most: int) -> None:
    """Unless it is less already."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _answers(function: Function, request: memoryview, cpu_seconds: int) -> Iterator[tuple[bytes, bytes | memoryview]]:
    try:
        _allow(cpu_seconds)
        for item in function(request):
            yield ITEM, item
            _allow(cpu_seconds)
    except MemoryError:
        yield MEMORY, _peak()
    except Exception as error:  # the caller hears of it: a bug of the function
        yield FAILED, _peak() + f"{type(error).__name__}: {error}".encode(errors="replace")
    else:
        yield END, _peak()


def _allow(cpu_seconds: int) -> None:
    """So much processor time from now on; past it the system ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _peak() -> bytes:
    """Most memory held so far, 8 bytes. Not `ru_maxrss`: that counts what the parent held when it started us."""
    try:
        with open("/proc/self/status") as status:
            kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        kilobytes = 0
    return (kilobytes * 1024).to_bytes(8, "big")


def _address_space() -> int:
    """Bytes that are mapped now: libraries map far more than they hold."""
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[0]) * resource.getpagesize()


def _send(stream: io.RawIOBase, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]


def _request(stream: io.RawIOBase) -> memoryview | None:
    """None where the parent has closed its end or is gone."""
    header = _exactly(stream, HEADER.size)
    return None if header is None else _exactly(stream, HEADER.unpack(header)[1])


def _exactly(stream: io.RawIOBase, count: int) -> memoryview | None:
    data = left = memoryview(bytearray(count))
    while left:
        got = stream.readinto(left)
        if not got:
            return None
        left = left[got:]
    return data.toreadonly()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
