"""Where a long step saves how far it is, so that whoever goes on with it does not begin anew."""

import time
from typing import Protocol

from touchstone_contracts.keys import savepoint_key
from touchstone_contracts.problems import Transient
from touchstone_contracts.values import Lenient, StepId

from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import ObjectStore
from touchstone_runtime.sealing import read_sealed, sealed

log = get_logger(__name__)

SHOWN = "shown"
"""Part of what is saved for those who look on; nobody goes on from it."""
SHOW_SECONDS, SHOW_AGAIN_SECONDS = 5.0, 60.0
"""Between two of them, and after one that could not be written."""


class Savepoints(Protocol):
    """Of one step. A step may have parts, each saved by itself."""

    def due(self) -> bool:
        """Whether it is time to save again."""

    def save(self, part: str, data: bytes) -> None:
        """Replaces what was saved of this part. What cannot be saved is lost and nothing else."""

    def show(self, state: Lenient) -> None:
        """Tells those who look on how the step is getting on: every few seconds, most calls do nothing."""

    def load(self, part: str) -> bytes | None:
        """What an earlier attempt saved last; None where nothing was, or it is damaged. Raises Transient."""

    def saved(self, part: str) -> bool:
        """Whether something of this part was saved or loaded here."""


class NoSavepoints:
    """For steps that begin anew."""

    def due(self) -> bool:
        return False

    def save(self, part: str, data: bytes) -> None:
        pass

    def show(self, state: Lenient) -> None:
        pass

    def load(self, part: str) -> bytes | None:
        return None

    def saved(self, part: str) -> bool:
        return False


NO_SAVEPOINTS = NoSavepoints()


class StepSavepoints:
    """In the object store, each with its digest before it: other than blobs they change."""

    def __init__(
        self,
        objects: ObjectStore,
        step: StepId,
        every_seconds: float,
        *,
        resumes: bool,
        show_seconds: float = SHOW_SECONDS,
    ) -> None:
        """`resumes`: whether an earlier attempt may have left something; a first one has nothing to look for."""
        self._objects, self._step = objects, step
        self._every, self._resumes = every_seconds, resumes
        self._last = time.monotonic()
        self._show_seconds, self._show_at = show_seconds, self._last + show_seconds
        self._parts: set[str] = set()

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._every

    def save(self, part: str, data: bytes) -> None:
        try:
            self._objects.put(savepoint_key(self._step, part), sealed(data))
            self._parts.add(part)
        except Transient as error:
            log.warning("savepoint.lost", part=part, error=str(error))
        self._last = time.monotonic()

    def show(self, state: Lenient) -> None:
        if time.monotonic() < self._show_at:
            return
        pause = self._show_seconds
        try:
            self._objects.put(savepoint_key(self._step, SHOWN), sealed(state.model_dump_json().encode()))
            self._parts.add(SHOWN)
        except Transient as error:
            log.warning("savepoint.not_shown", error=str(error))
            pause = SHOW_AGAIN_SECONDS
        self._show_at = time.monotonic() + pause

    def load(self, part: str) -> bytes | None:
        if not self._resumes:
            return None
        data = read_sealed(self._objects, savepoint_key(self._step, part))
        if data is not None:
            self._parts.add(part)
        return data

    def saved(self, part: str) -> bool:
        return part in self._parts

    def remove(self) -> None:
        """Of this attempt and earlier ones. What cannot be removed is collected one day."""
        if not (self._parts or self._resumes):
            return
        try:
            for stored in list(self._objects.listed(savepoint_key(self._step, ""))):
                self._objects.remove(stored.key)
        except Transient as error:
            log.warning("savepoints.left", error=str(error))
