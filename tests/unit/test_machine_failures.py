"""A disk or a GPU that fails: the step goes elsewhere, the worker makes way, and none begins on a disk that is full."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.prompts_step import MESSAGE
from touchstone_contracts.messages import StepFailed, StepReport, StepSucceeded
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import WRITE_PROMPTS, PromptsWritten, WritePrompts
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.machine import PAUSES, wait_for_disk
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, Progress, StepRunner


@dataclass
class Worker:
    """A runner whose one handler does what `work` says; counts how often it was asked to leave."""

    work: Callable[[], None]
    sent: list[StepReport] = field(default_factory=list)
    left: int = 0

    def send(self, report: StepReport) -> None:
        self.sent.append(report)

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False

    def leave(self) -> None:
        self.left += 1

    def run(self) -> StepReport:
        handlers, artifacts = Handlers[Artifacts]("generator"), Artifacts(MemoryObjects())

        @handlers.serve(WRITE_PROMPTS)
        def do(request: WritePrompts, tools: Artifacts, progress: Progress) -> PromptsWritten:
            self.work()
            return PromptsWritten(prompts=tools.put_blob(b"prompts"), count=2)

        runner = StepRunner(handlers, artifacts, artifacts, self, WorkerMetrics(), "w", 60.0, leave=self.leave)
        runner.run(MESSAGE)
        return self.sent[-1]


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def wrapped() -> None:
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/shard.tar")
    except OSError as error:
        raise Invalid("the source cannot be read", code="unreadable_source") from error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_is_a_passing_failure_and_the_worker_leaves(code: int) -> None:
    worker = Worker(raising(OSError(code, os.strerror(code), "/scratch/x")))
    ended = worker.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, ended.retryable, worker.left) == ("disk_failure", True, 1)
    assert "/scratch/x" in ended.problem.detail


def test_a_full_disk_behind_a_librarys_error_is_found() -> None:
    worker = Worker(wrapped)
    ended = worker.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, worker.left) == ("disk_failure", 1)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ...",
        "CUDA error: device-side assert triggered",
        "CUDA error: uncorrectable ECC error encountered",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    ],
)
def test_a_broken_cuda_context_is_a_passing_failure_and_the_worker_leaves(said: str) -> None:
    worker = Worker(raising(RuntimeError(said)))
    ended = worker.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, ended.retryable, worker.left) == ("device_failure", True, 1)
    assert "\n" not in ended.problem.detail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "bug"),
        (RuntimeError("shapes do not fit"), "bug"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
        (Invalid("no such class"), "invalid"),
    ],
)
def test_after_other_failures_the_worker_stays(error: Exception, code: str) -> None:
    worker = Worker(raising(error))
    ended = worker.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, worker.left) == (code, 0)


def test_after_a_success_the_worker_stays() -> None:
    worker = Worker(lambda: None)
    assert isinstance(worker.run(), StepSucceeded)
    assert worker.left == 0


def test_a_worker_asks_for_no_work_until_its_disk_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, waited, fsync = [True] * 8, list[float](), os.fsync

    def sync(descriptor: int) -> None:
        if failures:
            failures.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    wait_for_disk(tmp_path, waited.append)
    assert waited == [*PAUSES, PAUSES[-1], PAUSES[-1]]
    assert list(tmp_path.iterdir()) == []
