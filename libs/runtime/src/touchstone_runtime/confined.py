"""Processes with limits on memory, processor time and files, for bytes that nobody vouches for.

Libraries that read images and tables are large and written in C: what they take follows what a file announces, and a
damaged file may end the process that reads it. So a process of its own does it, without credentials in its environment
and unable to write a file. Where it ends, the caller learns how, and another one is started instead."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import Literal, cast

from touchstone_contracts.problems import Transient

from touchstone_runtime.confined_process import END, HEADER, ITEM, MEMORY, READY

Ending = Literal["too_much_memory", "too_slow", "crashed"]
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Of the environment; the rest may hold secrets."""
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that no file causes. SIGKILL is how the system frees memory."""
KEPT_BYTES = 256 * 2**20
"""A process that has held more is not used again: it may not have given that back."""
MOST_ANSWERED = 1 << 30
"""Bytes of one answer."""


@dataclass(frozen=True)
class Limits:
    memory_bytes: int = 420 * 2**20
    """Of address space, beyond the code and what that holds once it is loaded (30 to 70 MB)."""
    cpu_seconds: int = 20
    """For one answer."""
    open_files: int = 16
    silent_seconds: float = 300
    """By the clock, between two answers: a process that is not given the processor is not to blame."""


class Died(Exception):
    """The process has ended while it worked on an answer."""

    def __init__(self, how: Ending, *, answered: int, fresh: bool) -> None:
        super().__init__(how)
        self.how: Ending = how
        self.answered = answered
        """So many items were answered before."""
        self.fresh = fresh
        """Nothing had been asked of the process before: the request alone is to blame."""


class ConfinedBug(RuntimeError):
    """The function itself raised: it has to turn what a library raises into answers."""


class ConfinedProcess:
    """Runs one function, request by request. Not for two threads at once."""

    def __init__(self, target: str, limits: Limits) -> None:
        """`target`: `package.module:function`, which takes bytes and yields bytes."""
        self._limits, self._asked = limits, 0
        self._process = subprocess.Popen(
            [
                sys.executable, "-P", "-m", "touchstone_runtime.confined_process", target,
                str(limits.memory_bytes), str(limits.cpu_seconds), str(limits.open_files),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
            bufsize=0,
            # A signal to the worker's group, such as Ctrl-C, must not pass for a death by the file.
            start_new_session=True,
        )  # fmt: skip
        self._requests, self._answers = cast(FileIO, self._process.stdin), cast(FileIO, self._process.stdout)
        self._poll = select.poll()
        self._poll.register(self._answers.fileno(), select.POLLIN)
        self.peak_bytes = 0
        """Of memory held, as the process said after its latest request."""
        self._await_start(target)

    def _await_start(self, target: str) -> None:
        """Raises ConfinedBug: a process that cannot even start says nothing of files."""
        try:
            kind, _ = self._answer()
        except EOFError:
            status = self._process.wait()
            self.close()
            raise ConfinedBug(f"the process for {target} ended with status {status} before it took a request") from None
        assert kind == READY

    def ask(self, request: bytes) -> Iterator[bytearray]:
        """Take all answers before you ask again. Raises Died, and Transient where the system ended the process."""
        fresh, answered = self._asked == 0, 0
        self._asked += 1
        try:
            self._send(HEADER.pack(ITEM, len(request)))
            self._send(request)
            while True:
                kind, payload = self._answer()
                if kind == ITEM:
                    answered += 1
                    yield payload
                    continue
                self.peak_bytes = max(self.peak_bytes, int.from_bytes(payload[:8], "big"))
                if kind == END:
                    return
                if kind == MEMORY:
                    self.close()
                    raise Died("too_much_memory", answered=answered, fresh=fresh)
                raise ConfinedBug(payload[8:].decode(errors="replace"))
        except (EOFError, BrokenPipeError):
            raise self._died(answered, fresh) from None

    def _died(self, answered: int, fresh: bool) -> Died | Transient:
        status = self._process.wait()
        self.close()
        if status == -signal.SIGXCPU:
            return Died("too_slow", answered=answered, fresh=fresh)
        if fresh and -status in FROM_OUTSIDE:
            return Transient("a process that reads foreign files was ended from outside: is memory short?")
        return Died("crashed", answered=answered, fresh=fresh)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._requests.write(view) :]

    def _answer(self) -> tuple[bytes, bytearray]:
        kind, length = HEADER.unpack(self._take(HEADER.size))
        if length > MOST_ANSWERED:
            self.close()
            raise EOFError
        return kind, self._take(length)

    def _take(self, count: int) -> bytearray:
        taken = bytearray(count)
        left = memoryview(taken)
        while left:
            if not self._poll.poll(self._limits.silent_seconds * 1000):
                self.close()
                raise Transient(f"a process that reads foreign files was silent for {self._limits.silent_seconds} s")
            got = self._answers.readinto(left)
            if not got:
                raise EOFError
            left = left[got:]
        return taken

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                stream.close()


class ConfinedPool:
    """Processes that run one function, started when they are needed and used again."""

    def __init__(self, target: str, limits: Limits = Limits()) -> None:
        self._target, self.limits = target, limits
        self._idle: list[ConfinedProcess] = []
        self._lock = threading.Lock()
        self.started = 0
        """So many processes so far."""
        self.peak_bytes = 0
        """Of memory, held by one process, as far as processes could still say so."""
        weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def process(self, *, fresh: bool = False) -> Iterator[ConfinedProcess]:
        """One that nobody else uses meanwhile; `fresh`: which nothing has been asked yet."""
        with self._lock:
            process = None if fresh or not self._idle else self._idle.pop()
            self.started += process is None
        process = process or ConfinedProcess(self._target, self.limits)
        whole = False
        try:
            yield process
            whole = True
        finally:
            with self._lock:
                self.peak_bytes = max(self.peak_bytes, process.peak_bytes)
                if whole and not process.ended and process.peak_bytes <= KEPT_BYTES:
                    self._idle.append(process)
                else:
                    process.close()

    def close(self) -> None:
        """Processes that nobody uses. The pool may be used again."""
        with self._lock:
            _close_all(self._idle)


def _close_all(processes: list[ConfinedProcess]) -> None:
    while processes:
        processes.pop().close()
