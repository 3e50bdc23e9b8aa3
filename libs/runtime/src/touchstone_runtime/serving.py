"""The worker's side: which function serves which contract, and what happens around each call."""

import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog
from celery import Celery
from pydantic import ValidationError
from touchstone_contracts.messages import (
    StepFailed,
    StepManifest,
    StepMessage,
    StepProgressed,
    StepReport,
    StepStarted,
    StepSucceeded,
)
from touchstone_contracts.problems import Cancelled, Failure, Invalid, Problem, Transient
from touchstone_contracts.steps import CATALOGUE, Contract, RequestT, ResultT

from touchstone_runtime.artifacts import Artifacts, blobs_in
from touchstone_runtime.logs import get_logger, recent_lines
from touchstone_runtime.memory import ONLY_PYTHON, Memory, OutOfMemory
from touchstone_runtime.metrics import WorkerMetrics, start_metrics_server
from touchstone_runtime.queue import TASK_PREFIX
from touchstone_runtime.settings import WorkerSettings

log = get_logger(__name__)

REPORT_INTERVAL = 1.0
"""Seconds between progress reports, so that a tight loop does not flood the conductor."""
EXIT_TIME_LIMIT = 70

ToolsT = TypeVar("ToolsT")


class Reporter(Protocol):
    def send(self, report: StepReport) -> None: ...

    def is_cancelled(self, step: str) -> bool: ...


@dataclass
class Progress:
    """Handed to every handler; `progress(done, total)` reports and raises Cancelled once the work is unwanted."""

    message: StepMessage
    reporter: Reporter
    done: int = 0
    total: int | None = None
    _last: float = 0.0

    def __call__(self, done: int, total: int | None = None) -> None:
        self.done, self.total = done, total
        now = time.monotonic()
        if now - self._last >= REPORT_INTERVAL:
            self._last = now
            try:
                self.beat()
                unwanted = self.reporter.is_cancelled(self.message.step_id)
            except Transient as error:
                # Redis is a doorbell: work goes on without it, and the manifest tells of the end.
                log.warning("progress.lost", error=str(error))
                return
            if unwanted:
                raise Cancelled("no active experiment needs this step")

    def beat(self) -> None:
        self.reporter.send(
            StepProgressed(step_id=self.message.step_id, attempt=self.message.attempt, done=self.done, total=self.total)
        )


ProgressFunction = Callable[[int, int | None], None]
"""What science functions take: (done, total)."""


def no_progress(done: int, total: int | None = None) -> None:
    """For callers that do not care."""


Handler = Callable[[Any, Any, Progress], Any]


@dataclass
class Handlers(Generic[ToolsT]):
    """The handlers of one queue: `@handlers.serve(CONTRACT)` on `f(request, tools, progress) -> result`."""

    queue: str
    by_kind: dict[str, Handler] = field(default_factory=dict)

    def serve(
        self, contract: Contract[RequestT, ResultT]
    ) -> Callable[[Callable[[RequestT, ToolsT, Progress], ResultT]], Callable[[RequestT, ToolsT, Progress], ResultT]]:
        def register(
            function: Callable[[RequestT, ToolsT, Progress], ResultT],
        ) -> Callable[[RequestT, ToolsT, Progress], ResultT]:
            if contract.queue != self.queue or contract.name in self.by_kind:
                raise ValueError(f"{contract.name} does not belong to queue {self.queue} or is served twice")
            self.by_kind[contract.name] = function
            return function

        return register

    def require_complete(self) -> None:
        """Raises ValueError when a contract of this queue has no handler."""
        missing = {c.name for c in CATALOGUE.values() if c.queue == self.queue} - set(self.by_kind)
        if missing:
            raise ValueError(f"queue {self.queue} has contracts without a handler: {sorted(missing)}")


@dataclass
class StepRunner(Generic[ToolsT]):
    """Runs one message: found? else compute, write blobs, write the manifest last, report."""

    handlers: Handlers[ToolsT]
    tools: ToolsT
    artifacts: Artifacts
    reporter: Reporter
    metrics: WorkerMetrics
    worker: str
    heartbeat_seconds: float
    holds_gpu: bool = False
    memory: Memory = ONLY_PYTHON

    def run(self, message: StepMessage) -> None:
        structlog.contextvars.bind_contextvars(step=message.step_id[:12], kind=message.kind, attempt=message.attempt)
        ran_out = False
        try:
            found = self.artifacts.verified(message.step_id) is not None
            if not found:
                self._compute(message)
            self.metrics.steps.labels(message.kind, "found" if found else "computed").inc()
            self.reporter.send(StepSucceeded(step_id=message.step_id, attempt=message.attempt, found=found))
        except Exception as error:  # the one place where a bug becomes a report instead of a dead worker
            failure = self.memory.translated(error)
            ran_out = isinstance(failure, OutOfMemory)
            self._report_failure(message, failure)
        finally:
            structlog.contextvars.clear_contextvars()
            if ran_out:
                # Only here: the error that was just let go held the step's arrays through its traceback.
                self.memory.give_back()

    def _compute(self, message: StepMessage) -> None:
        contract = CATALOGUE[message.kind]
        if message.version != contract.version:
            raise Transient(f"this worker serves {message.kind} v{contract.version}", code="contract_version")
        request = _parse(contract, message)
        self.reporter.send(StepStarted(step_id=message.step_id, attempt=message.attempt, worker=self.worker))
        progress = Progress(message, self.reporter)
        wall, cpu = time.perf_counter(), time.process_time()
        with _Heartbeat(progress, self.heartbeat_seconds, contract.time_limit.total_seconds()):
            result = self.handlers.by_kind[message.kind](request, self.tools, progress)
        seconds = round(time.perf_counter() - wall, 3)
        manifest = StepManifest(
            step_id=message.step_id,
            kind=message.kind,
            version=message.version,
            result=result.model_dump(mode="json"),
            blobs=tuple(blobs_in(result)),
            seconds=seconds,
            cpu_seconds=round(time.process_time() - cpu, 3),
            gpu_seconds=seconds if self.holds_gpu else 0.0,
            worker=self.worker,
        )
        self.artifacts.write_manifest(manifest)
        self.metrics.seconds.labels(message.kind).observe(manifest.seconds)
        log.info("step.computed", seconds=manifest.seconds, cpu_seconds=manifest.cpu_seconds)

    def _report_failure(self, message: StepMessage, error: Exception) -> None:
        self.metrics.steps.labels(message.kind, "failed").inc()
        log.error("step.failed", error=str(error), exc_info=not isinstance(error, Failure))
        self.reporter.send(
            StepFailed(
                step_id=message.step_id,
                attempt=message.attempt,
                problem=problem_of(error),
                retryable=isinstance(error, Transient),
                log_tail=recent_lines()[-4000:],
            )
        )


def _parse(contract: Contract[RequestT, Any], message: StepMessage) -> RequestT:
    try:
        request = contract.request.model_validate(message.request)
    except ValidationError as error:
        raise Invalid(f"malformed {contract.name} request: {error}", code="malformed_request") from error
    if contract.step_id(request) != message.step_id:
        raise Invalid(f"step {message.step_id} is not the identity of its request", code="identity_mismatch")
    return request


def problem_of(error: Exception) -> Problem:
    if isinstance(error, Failure):
        return error.problem()
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {last[0].name} line {last[0].lineno}" if last else ""
    return Problem(title="Bug", code="bug", detail=f"{type(error).__name__}: {error}{place}")


class _Heartbeat:
    """Renews the lease from a thread while a handler computes; ends the process at the contract's hard limit."""

    def __init__(self, progress: Progress, interval: float, limit: float) -> None:
        self._progress, self._interval, self._limit = progress, interval, limit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def _run(self) -> None:
        deadline = time.monotonic() + self._limit
        while not self._stop.wait(self._interval):
            if time.monotonic() > deadline:
                log.error("step.time_limit", limit=self._limit)
                # A stuck native call cannot be interrupted; the process manager starts a fresh worker.
                os._exit(EXIT_TIME_LIMIT)
            try:
                self._progress.beat()
            except Transient as error:
                log.warning("heartbeat.lost", error=str(error))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def worker_name(settings: WorkerSettings, queue: str) -> str:
    return settings.worker_name or f"{queue}@{socket.gethostname()}:{os.getpid()}"


def serve_forever(app: Celery, runner: StepRunner[Any], settings: WorkerSettings) -> None:
    """Registers one Celery task per contract and consumes the queue until SIGTERM (a running step finishes first).

    The solo pool runs steps in the main process: torch must not be used across a fork."""
    runner.handlers.require_complete()
    for kind in runner.handlers.by_kind:
        app.task(_task(runner), name=TASK_PREFIX + kind)
    if settings.metrics_port:
        start_metrics_server(runner.metrics.registry, settings.metrics_host, settings.metrics_port)
    worker = app.Worker(
        queues=[runner.handlers.queue],
        pool="solo",
        hostname=runner.worker if "@" in runner.worker else f"{runner.worker}@local",
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
    )
    worker.start()


def _task(runner: StepRunner[Any]) -> Callable[..., None]:
    def run_step(message: dict[str, Any]) -> None:
        runner.run(StepMessage.model_validate(message))

    return run_step
