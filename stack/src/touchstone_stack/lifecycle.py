"""Starting and stopping the stack; both may be repeated at will."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from touchstone.documents import read_document
from touchstone_contracts.catalogue import Catalogue

from touchstone_stack.processes import Layout, Stages, stages
from touchstone_stack.state import Folder, State, refreshed
from touchstone_stack.supervision import Supervisor, end_strays, supervisor_configuration

READY_SECONDS = 180
"""Importing torch in four workers at once takes its time on two cores."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    layout: Layout
    catalogue: Path
    api_port: int
    say: Say = field(default=lambda line: None)

    @property
    def folder(self) -> Folder:
        return self.layout.folder

    def up(self) -> State:
        """Starts what does not run, waits until everything answers, registers the catalogue.

        Raises PortTaken, StackFailed, ServerMissing, and ProblemError when the catalogue contradicts what is
        registered."""
        with self.folder.locked():
            state = self._supervised()
            self._start_all(Supervisor(self.folder, state), stages(self.layout, state))
            self._register(state)
        return state

    def _supervised(self) -> State:
        """The state of a running supervisord; started when it was not."""
        known = self.folder.read_state()
        if known is not None and Supervisor(self.folder, known).answers():
            self.say("the stack was up already")
            return known
        if count := end_strays(self.folder):
            self.say(f"ended {count} processes a former stack left behind")
        state = refreshed(known, self.api_port)
        self.folder.write_state(state)
        configuration = supervisor_configuration(
            self.folder, state, stages(self.layout, state), self.layout.settled_seconds
        )
        Supervisor(self.folder, state).launch(configuration)
        return state

    def _start_all(self, supervisor: Supervisor, staged: Stages) -> None:
        for stage in staged:
            started = time.monotonic()
            for process in stage:
                supervisor.start(process.name)
            for process in stage:
                supervisor.wait_ready(process, READY_SECONDS)
                self.say(f"{process.name} ready ({time.monotonic() - started:.1f} s)")

    def _register(self, state: State) -> None:
        entries = Catalogue.model_validate(read_document(self.catalogue))
        with state.client() as client:
            new = client.apply(entries)
        self.say("registered " + ", ".join(f"{count} new {resource}" for resource, count in new.items()))

    def down(self, *, wipe: bool = False) -> bool:
        """Stops everything and keeps the data, or with `wipe` forgets it. Whether anything was running."""
        with self.folder.locked():
            state = self.folder.read_state()
            supervisor = None if state is None else Supervisor(self.folder, state)
            running = supervisor is not None and supervisor.answers()
            if supervisor is not None and running:
                supervisor.shut_down()
            running = end_strays(self.folder) > 0 or running
            if wipe:
                self.folder.wipe()
        return running

    def supervisor(self) -> Supervisor:
        """Of a stack that is up. Raises LookupError when it never was."""
        state = self.folder.read_state()
        if state is None:
            raise LookupError(f"no stack was ever started in {self.folder.path}")
        return Supervisor(self.folder, state)

    @contextmanager
    def running(self) -> Iterator[State]:
        """Up inside the block, down after it; data stays."""
        try:
            yield self.up()
        finally:
            self.down()


def threads_per_worker(cores: int | None = None) -> int:
    """The workers share the machine and are rarely busy all at once."""
    return max(1, (cores or os.cpu_count() or 1) // 2)
