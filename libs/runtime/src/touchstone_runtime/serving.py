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
from celery import Celery, signals
from pydantic import ValidationError
from touchstone_contracts.facts import opened
from touchstone_contracts.messages import (
    Environment,
    LiveWorker,
    StepFailed,
    StepManifest,
    StepMessage,
    StepProgressed,
    StepReport,
    StepStarted,
    StepSucceeded,
)
from touchstone_contracts.problems import Cancelled, Failure, Invalid, Problem, Transient
from touchstone_contracts.redaction import redacted
from touchstone_contracts.steps import AnyContract, Contract, RequestT, ResultT, channel_of, served_by
from touchstone_contracts.values import Digest

from touchstone_runtime.artifacts import Artifacts, blobs_in
from touchstone_runtime.crash_points import crash_point
from touchstone_runtime.idleness import IdleTime, leave_when_idle
from touchstone_runtime.logs import get_logger, recent_lines
from touchstone_runtime.machine import end_process, machine_failure, wait_for_disk
from touchstone_runtime.memory import ONLY_PYTHON, Memory, OutOfMemory, host_memory, nothing
from touchstone_runtime.metrics import Unit, WorkerMetrics, start_metrics_server
from touchstone_runtime.phases import measured
from touchstone_runtime.presence import Announcer, Presence
from touchstone_runtime.queue import TASK_PREFIX, StepRequest
from touchstone_runtime.savepoints import NO_SAVEPOINTS, Savepoints, StepSavepoints
from touchstone_runtime.settings import SAVEPOINT_SECONDS, STALL_SECONDS, WorkerSettings
from touchstone_runtime.tracing import NO_TRACES, Span, Traces

log = get_logger(__name__)

REPORT_INTERVAL = 1.0
"""Seconds between progress reports, so that a tight loop does not flood the conductor."""
EXIT_STALLED = 70

ToolsT = TypeVar("ToolsT")


class Reporter(Protocol):
    def send(self, report: StepReport) -> None: ...

    def is_unwanted(self, step: str, attempt: int) -> bool: ...


def require_wanted(message: StepMessage, reporter: Reporter) -> None:
    """Raises Cancelled, or Transient where nobody can say."""
    if reporter.is_unwanted(message.step_id, message.attempt):
        raise Cancelled("nobody needs this attempt: its experiments were cancelled, or another was handed out")


def count_nothing(amount: float) -> None:
    """For steps whose progress is neither images nor updates."""


@dataclass
class Progress:
    """Handed to every handler; `progress(done, total)` reports and raises Cancelled once the work is unwanted."""

    message: StepMessage
    reporter: Reporter
    done: int = 0
    total: int | None = None
    count: Callable[[float], None] = count_nothing
    """Told how much more is done than ever before in this attempt."""
    savepoints: Savepoints = NO_SAVEPOINTS
    """Where a handler saves how far it is."""
    moved: float = field(default_factory=time.monotonic)
    """When the handler last told of progress, as time.monotonic says."""
    _last: float = 0.0
    _counted: int = 0
    _unheard: bool = False
    """The last report could not be sent: the heartbeat's thread finds out when they can, so that the work waits for a
    silent server once and not each second."""

    def __call__(self, done: int, total: int | None = None) -> None:
        self.done, self.total = done, total
        if done > self._counted:
            self.count(done - self._counted)
            self._counted = done
        self.moved = now = time.monotonic()
        if now - self._last >= REPORT_INTERVAL and not self._unheard:
            self._last = now
            try:
                self.beat()
                require_wanted(self.message, self.reporter)
            except Transient as error:
                # Redis is a doorbell: work goes on without it, and the manifest tells of the end.
                log.warning("progress.lost", error=str(error))

    def beat(self) -> None:
        """Raises Transient."""
        self._unheard = True
        self.reporter.send(
            StepProgressed(
                step_id=self.message.step_id,
                attempt=self.message.attempt,
                done=self.done,
                total=self.total,
                memory=host_memory(),
            )
        )
        self._unheard = False


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
    units: dict[str, Unit | None] = field(default_factory=dict)
    """By kind: what its progress counts, if that is worth a metric."""

    def serve(
        self, contract: Contract[RequestT, ResultT], *, progress_counts: Unit | None = None
    ) -> Callable[[Callable[[RequestT, ToolsT, Progress], ResultT]], Callable[[RequestT, ToolsT, Progress], ResultT]]:
        def register(
            function: Callable[[RequestT, ToolsT, Progress], ResultT],
        ) -> Callable[[RequestT, ToolsT, Progress], ResultT]:
            if contract.queue != self.queue or contract.name in self.by_kind:
                raise ValueError(f"{contract.name} does not belong to queue {self.queue} or is served twice")
            self.by_kind[contract.name] = function
            self.units[contract.name] = progress_counts
            return function

        return register

    def require_complete(self) -> None:
        """Raises ValueError when a contract of this queue has no handler."""
        missing = {contract.name for contract in served_by(self.queue)} - set(self.by_kind)
        if missing:
            raise ValueError(f"queue {self.queue} has contracts without a handler: {sorted(missing)}")

    def served(self) -> dict[str, AnyContract]:
        """Every contract with a handler in every version that this release serves, by channel."""
        return {contract.channel: contract for contract in served_by(self.queue) if contract.name in self.by_kind}


def unknown_environment() -> None:
    """Of runners that nobody told what they compute with."""


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
    stall_seconds: float = STALL_SECONDS
    savepoint_seconds: float = SAVEPOINT_SECONDS
    traces: Traces = NO_TRACES
    memory: Memory = ONLY_PYTHON
    environment: Callable[[], Environment | None] = unknown_environment
    """Asked when a step has been computed, for its manifest."""
    leave: Callable[[], None] = end_process
    """Called after a step that failed with the machine."""

    def run(self, message: StepMessage) -> None:
        structlog.contextvars.bind_contextvars(step=message.step_id[:12], kind=message.kind, attempt=message.attempt)
        try:
            with self.traces.span(
                f"step {self._known_kind(message)}",
                parent=message.traceparent,
                role="consumer",
                step=message.step_id,
                attempt=message.attempt,
                worker=self.worker,
            ) as span:
                afterwards = self._run(message, span)
        finally:
            structlog.contextvars.clear_contextvars()
        # Only here: the error that was just let go held the step's arrays through its traceback.
        afterwards()

    def _run(self, message: StepMessage, span: Span) -> Callable[[], None]:
        """What is to be done about the worker afterwards."""
        try:
            found = self.artifacts.present(message.step_id) is not None
            if not found:
                self._ask_whether_wanted(message)
                self._compute(message, span)
            elif message.attempt > 1:
                self._savepoints(message).remove()  # of one that died as soon as it was done
            outcome = "found" if found else "computed"
            self.metrics.steps.labels(self._known_kind(message), outcome).inc()
            span.tell(outcome=outcome)
            self.reporter.send(StepSucceeded(step_id=message.step_id, attempt=message.attempt, found=found))
        except Exception as error:  # here alone a bug becomes a report instead of a dead worker
            failure = self.memory.translated(error)
            if isinstance(failure, OutOfMemory):
                self._report_failure(message, failure, span)
                return self.memory.give_back
            broken = machine_failure(error)
            self._report_failure(message, broken or failure, span)
            return self.leave if broken else nothing
        return nothing

    def _ask_whether_wanted(self, message: StepMessage) -> None:
        """A message may be delivered long after another attempt was handed out. Raises Cancelled."""
        try:
            require_wanted(message, self.reporter)
        except Transient as error:
            log.warning("wanted.unknown", error=str(error))

    def _compute(self, message: StepMessage, span: Span) -> None:
        contract = self._contract_of(message)
        request = _parse(contract, message, self.artifacts.fact)
        self._tell_of_the_start(message)
        with measured() as clock, self.metrics.running(message.kind, holds_gpu=self.holds_gpu):
            try:
                savepoints = self._savepoints(message)
                manifest = self._handled(message, contract, request, savepoints)
                self.artifacts.write_manifest(manifest)
                savepoints.remove()
            finally:
                span.tell(**{f"{phase}_seconds": round(spent, 3) for phase, spent in clock.by_phase().items()})
        self.metrics.computed(message.kind, manifest.seconds, clock.by_phase())
        log.info("step.computed", seconds=manifest.seconds, cpu_seconds=manifest.cpu_seconds)

    def _tell_of_the_start(self, message: StepMessage) -> None:
        """Progress tells of it too, and the manifest of the end."""
        try:
            self.reporter.send(StepStarted(step_id=message.step_id, attempt=message.attempt, worker=self.worker))
        except Transient as error:
            log.warning("start.lost", error=str(error))

    def _savepoints(self, message: StepMessage) -> StepSavepoints:
        return self.artifacts.savepoints(message.step_id, self.savepoint_seconds, resumes=message.attempt > 1)

    def _contract_of(self, message: StepMessage) -> AnyContract:
        """Raises Invalid where this worker does not serve it, which another try at the same worker would not change."""
        served = self.handlers.served()
        contract = served.get(channel_of(message.kind, message.version))
        if contract is None:
            raise Invalid(
                f"worker {self.worker} was sent {message.kind} version {message.version}, which it does not serve; it "
                f"serves {', '.join(sorted(served))}. Check that whatever filled its queue is the conductor of this "
                "deployment, then retry the experiment",
                code="not_served",
            )
        return contract

    def _known_kind(self, message: StepMessage) -> str:
        """A message may say anything; names of metrics and spans are few."""
        return message.kind if message.kind in self.handlers.by_kind else "unknown"

    def _handled(
        self, message: StepMessage, contract: Contract[Any, Any], request: object, savepoints: StepSavepoints
    ) -> StepManifest:
        unit = self.handlers.units[message.kind]
        count = self.metrics.work(message.kind, unit) if unit else count_nothing
        progress = Progress(message, self.reporter, count=count, savepoints=savepoints)
        wall, cpu = time.perf_counter(), time.process_time()
        with _Heartbeat(progress, self.heartbeat_seconds, self.stall_seconds):
            result = self.handlers.by_kind[message.kind](request, self.tools, progress)
        seconds = round(time.perf_counter() - wall, 3)
        return StepManifest(
            step_id=message.step_id,
            kind=message.kind,
            version=message.version,
            result=result.model_dump(mode="json"),
            blobs=tuple(blobs_in(result)),
            seconds=seconds,
            cpu_seconds=round(time.process_time() - cpu, 3),
            gpu_seconds=seconds if self.holds_gpu else 0.0,
            worker=self.worker,
            environment=self.environment(),
        )

    def _report_failure(self, message: StepMessage, error: Exception, span: Span) -> None:
        problem = problem_of(error)
        self.metrics.failed(self._known_kind(message), problem.code)
        span.fail(problem.code)
        log.error("step.failed", error=str(error), exc_info=not isinstance(error, Failure))
        self.reporter.send(
            StepFailed(
                step_id=message.step_id,
                attempt=message.attempt,
                problem=problem,
                retryable=isinstance(error, Transient),
                log_tail=recent_lines()[-4000:],
            )
        )


def _parse(contract: Contract[RequestT, Any], message: StepMessage, read_fact: Callable[[Digest], object]) -> RequestT:
    """The request with the values of its facts. Raises MissingObject when one was lost."""
    held = message.request
    try:
        request = contract.request.model_validate(opened(held, read_fact) if contract.names_facts else held)
    except ValidationError as error:
        raise Invalid(f"malformed {contract.name} request: {error}", code="malformed_request") from error
    if contract.step_id(request) != message.step_id:
        raise Invalid(f"step {message.step_id} is not the identity of its request", code="identity_mismatch")
    return request


def problem_of(error: Exception) -> Problem:
    if isinstance(error, Failure):
        return error.problem()
    last = traceback.extract_tb(error.__traceback__)[-1:]
    position = f" at {last[0].name} line {last[0].lineno}" if last else ""
    return Problem(title="Bug", code="bug", detail=redacted(f"{type(error).__name__}: {error}{position}"))


class _Heartbeat:
    """Renews the lease from a thread while a handler computes; ends the process when nothing has moved for too long."""

    def __init__(self, progress: Progress, interval: float, limit: float) -> None:
        self._progress, self._interval, self._limit = progress, interval, limit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            if time.monotonic() - self._progress.moved > self._limit:
                log.error("step.stalled", seconds=self._limit)
                # A stuck native call cannot be interrupted; the process manager starts a fresh worker.
                os._exit(EXIT_STALLED)
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


def serve_forever(app: Celery, runner: StepRunner[Any], presence: Presence, settings: WorkerSettings) -> None:
    """Registers one Celery task per kind and consumes the channels of all that is served until SIGTERM (a running step
    finishes first) or until it was idle for `exit_when_idle_seconds`. Raises SystemExit when Celery gave up.

    The solo pool runs steps in the main process: torch must not be used across a fork."""
    runner.handlers.require_complete()
    wait_for_disk()
    idle = IdleTime()
    for kind in runner.handlers.by_kind:
        app.task(_task(runner, idle), name=TASK_PREFIX + kind, Request=StepRequest)
    if settings.metrics_port:
        start_metrics_server(runner.metrics.registry, settings.metrics_host, settings.metrics_port)
    channels = tuple(runner.handlers.served())
    worker = app.Worker(
        queues=channels,
        pool="solo",
        hostname=runner.worker if "@" in runner.worker else f"{runner.worker}@local",
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
    )
    signals.worker_ready.connect(lambda **_: leave_when_idle(idle, settings.exit_when_idle_seconds), weak=False)
    announced = LiveWorker(name=runner.worker, queue=runner.handlers.queue, channels=channels)
    with Announcer(presence, announced, settings.heartbeat_seconds):
        worker.start()
    if worker.exitcode:
        raise SystemExit(worker.exitcode)


def _task(runner: StepRunner[Any], idle: IdleTime) -> Callable[..., None]:
    def run_step(message: dict[str, Any]) -> None:
        with idle.busy(), crash_point("message.taken"):
            runner.run(StepMessage.model_validate(message))

    return run_step
