"""A worker that is killed after everything it saves and started anew, until the step is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.sent_reports import SentReports
from touchstone_contracts.keys import SAVEPOINTS
from touchstone_contracts.messages import StepFailed, StepManifest, StepMessage
from touchstone_contracts.steps import Contract
from touchstone_contracts.values import Strict
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, StepRunner

MOST_ATTEMPTS = 100


class Killed(BaseException):
    """As SIGKILL: nothing that handles failures sees it."""


@contextmanager
def killed_at_a_removal(objects: MemoryObjects, after: int) -> Iterator[None]:
    """Whoever has removed `after` objects in the block dies before the next one, and must."""
    remove, left = objects.remove, [after]

    def killed(key: str) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        remove(key)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(objects, "remove", killed)
        with pytest.raises(Killed):
            yield


@dataclass
class DeadlyObjects(MemoryObjects):
    """Whoever has saved something dies."""

    deadly: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        if self.deadly and key.startswith(SAVEPOINTS):
            raise Killed


@dataclass
class MortalWorker:
    """`tools_on` builds what a new process starts with."""

    handlers: Handlers[Any]
    tools_on: Callable[[Artifacts], Any]
    objects: DeadlyObjects = field(default_factory=DeadlyObjects)
    reports: SentReports = field(default_factory=SentReports)
    kills: int = 0

    @property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.objects)

    def run(self, contract: Contract[Any, Any], request: Strict, *, killed: bool = False) -> StepManifest:
        """The manifest of the step. `killed`: after every savepoint; else it runs through and saves all the same."""
        before, self.objects.deadly = self.kills, killed
        for number in range(1, MOST_ATTEMPTS):
            try:
                self.attempt(contract, request, number)
                break
            except Killed:
                self.kills += 1
        self.objects.deadly = False
        assert killed == (self.kills > before)
        assert not list(self.objects.listed(SAVEPOINTS)), "savepoints outlive their step"
        manifest = self.artifacts.manifest(contract.step_id(request))
        assert manifest is not None
        return manifest

    def attempt(self, contract: Contract[Any, Any], request: Strict, number: int) -> None:
        """In a new process. Raises Killed."""
        artifacts = self.artifacts
        message = StepMessage(
            step_id=contract.step_id(request),
            attempt=number,
            kind=contract.name,
            version=contract.version,
            request=request.model_dump(mode="json"),
        )
        runner = StepRunner(
            self.handlers,
            self.tools_on(artifacts),
            artifacts,
            self.reports,
            WorkerMetrics(),
            "w",
            60.0,
            savepoint_seconds=0.0,
        )
        runner.run(message)
        ended = self.reports.sent[-1]
        assert not isinstance(ended, StepFailed), ended.problem.detail + ended.log_tail
