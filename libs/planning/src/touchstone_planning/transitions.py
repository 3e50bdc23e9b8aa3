"""What may happen to a step. Pure: a step and a fact in, the next step out.

Deliveries are at least once and reports may be lost, doubled, late and out of order. Whatever happens: a success
counts whichever attempt it comes from (same identity, same result) and is never taken back by a report; a failure
counts only when the current attempt reports it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from touchstone_contracts.messages import (
    HostMemory,
    StepFailed,
    StepManifest,
    StepProgressed,
    StepReport,
    StepStarted,
)
from touchstone_contracts.problems import Problem, in_words

from touchstone_planning.state import Step


@dataclass(frozen=True)
class Limits:
    """How patient the conductor is."""

    lease: timedelta = timedelta(seconds=30)
    max_failures: int = 3
    retry: timedelta = timedelta(seconds=2)
    """Pause after the first failure; doubles with each further one."""
    longer_pauses: int = 5
    """How many pauses there are, each twice as long as the one before: up to 32 seconds where the first one is two."""
    free_attempts: int = 20
    """A step whose inputs were lost goes back to waiting at no cost; after so many attempts it costs one each time."""

    @property
    def longest_pause(self) -> timedelta:
        return self.pause(self.longer_pauses)

    def pause(self, failures: int) -> timedelta:
        """Before another attempt, after so many that went wrong."""
        return self.retry * int(2 ** (min(failures, self.longer_pauses) - 1))


OUTAGES = frozenset({"object_store", "redis", "database", "vector_index"})
"""Codes of problems that are a server's: a step waits until it is back, however long that takes."""


OUT_OF_MEMORY = "out_of_memory"


def lease(step: Step, now: datetime, limits: Limits) -> Step:
    """Hands a waiting step out. Raises ValueError for any other: two leases on one step cannot be."""
    if step.state != "waiting":
        raise ValueError(f"step {step.id} is {step.state}, only a waiting step can be leased")
    return replace(
        step,
        state="leased",
        attempt=step.attempt + 1,
        lease_expires_at=now + limits.lease,
        not_before=None,
        started_at=None,
        worker=None,
    )


def renew(step: Step, now: datetime, limits: Limits) -> Step:
    return replace(step, lease_expires_at=now + limits.lease)


def release(step: Step) -> Step:
    """Takes a lease back without blaming the step: it was not sent, got lost before it started, or is unwanted."""
    return replace(step, state="waiting", lease_expires_at=None, not_before=None, started_at=None, worker=None)


def succeed(step: Step, now: datetime, manifest: StepManifest) -> Step:
    """Counts in every state, also after a failure: the result exists."""
    if step.state == "succeeded":
        return step
    return replace(
        step,
        state="succeeded",
        lease_expires_at=None,
        not_before=None,
        problem=None,
        log_tail=None,
        seconds=manifest.seconds,
        cpu_seconds=manifest.cpu_seconds,
        gpu_seconds=manifest.gpu_seconds,
        worker=manifest.worker,
        done=step.total if step.total is not None else step.done,
        finished_at=now,
        headline=manifest.headline,
    )


def apply_report(step: Step, report: StepReport, now: datetime, limits: Limits) -> Step:
    """Every report but success, which needs the manifest (see `succeed`). A stale report changes nothing."""
    if step.state != "leased" or report.attempt != step.attempt:
        return step
    if isinstance(report, StepStarted):
        return replace(renew(step, now, limits), started_at=step.started_at or now, worker=report.worker)
    if isinstance(report, StepProgressed):
        # Reports of one worker may be lost: progress also tells that the step has started.
        renewed = replace(renew(step, now, limits), started_at=step.started_at or now)
        # Whoever gets further than any attempt before is not stuck: what went wrong earlier is forgiven.
        forgiven = _forgiven(renewed) if report.done > step.done else renewed
        return replace(forgiven, done=max(step.done, report.done), total=report.total or step.total)
    if isinstance(report, StepFailed):
        if report.problem.code == "cancelled":
            return release(step)
        if report.retryable and report.problem.code in OUTAGES:
            return await_server(step, report.problem, now, limits)
        if report.problem.code == OUT_OF_MEMORY:
            return run_out_of_memory(step, report, now, limits)
        return fail(step, report.problem, now, limits, retryable=report.retryable, log_tail=report.log_tail)
    return step


def _forgiven(step: Step) -> Step:
    problem = step.problem and step.problem.model_copy(update={"out_of_memory_on": ()})
    return replace(step, failures=0, problem=problem)


def run_out_of_memory(step: Step, report: StepFailed, now: datetime, limits: Limits) -> Step:
    """A failed attempt as any other, unless it has happened often enough, and on more than one worker: then no worker
    has what the step needs, and somebody must change it."""
    workers = (*_out_of_memory_on(step), step.worker or "an unknown worker")
    if len(workers) < limits.max_failures or len(set(workers)) == 1:
        problem = report.problem.model_copy(update={"out_of_memory_on": workers})
        return fail(step, problem, now, limits, retryable=report.retryable, log_tail=report.log_tail)
    tried = f"{len(workers)} attempts on {in_words(sorted(set(workers)), 'and')} ended so"
    problem = Problem(
        title="Needs more memory",
        status=422,
        code="needs_more_memory",
        detail=f"needs more memory than workers have: {tried}. The last one said: {report.problem.detail}",
        out_of_memory_on=workers,
    )
    return fail(step, problem, now, limits, retryable=False, log_tail=report.log_tail)


def _out_of_memory_on(step: Step) -> tuple[str, ...]:
    return step.problem.out_of_memory_on if step.problem else ()


def _with_memory_of(step: Step, problem: Problem) -> Problem:
    """Another problem of the step, which does not forget whose memory ran out."""
    return problem.model_copy(update={"out_of_memory_on": _out_of_memory_on(step)})


def await_server(step: Step, problem: Problem, now: datetime, limits: Limits) -> Step:
    """Another attempt after a pause, without blame: the step could not do anything about it."""
    return replace(release(step), problem=_with_memory_of(step, problem), not_before=now + limits.pause(step.attempt))


def await_reading(step: Step, problem: Problem, now: datetime) -> Step:
    """Its worker says that it is done, and the server that keeps the result is away: the step stays handed out, and
    says what it waits for."""
    if step.state != "leased":
        return step
    return replace(step, problem=_with_memory_of(step, problem), not_before=now)


def await_inputs(step: Step, report: StepFailed, now: datetime, limits: Limits) -> Step:
    """What the attempt needed was lost, and is being made again: the step waits for it, at no cost for a while."""
    if step.state != "leased" or report.attempt != step.attempt or step.attempt > limits.free_attempts:
        return apply_report(step, report, now, limits)
    return release(step)


def fail(step: Step, problem: Problem, now: datetime, limits: Limits, *, retryable: bool, log_tail: str = "") -> Step:
    """Another attempt after a pause, or the end when repeating cannot help or was tried often enough."""
    failures = step.failures + 1
    failed = replace(step, failures=failures, lease_expires_at=None, problem=problem, log_tail=log_tail or None)
    if not retryable or failures >= limits.max_failures:
        return replace(failed, state="failed", finished_at=now)
    return replace(failed, state="waiting", worker=None, not_before=now + limits.pause(failures))


def expire(step: Step, now: datetime, limits: Limits, *, still_queued: bool, memory: HostMemory | None = None) -> Step:
    """A lease ran out and no manifest exists. `still_queued`: its message is known to wait for a worker; `memory`: what
    the worker last told of it. A kernel that ends a process for want of memory tells nobody, so no more than a guess
    follows from it."""
    if step.state != "leased" or step.lease_expires_at is None or step.lease_expires_at > now:
        return step
    if step.started_at is None:
        return renew(step, now, limits) if still_queued else release(step)
    silent = Problem(
        title="Worker went silent",
        status=503,
        code="lease_expired",
        detail=f"{step.worker or 'the worker'} gave no sign of life for {limits.lease.total_seconds():g} seconds"
        f"{_suspicion(memory)}",
        out_of_memory_on=_out_of_memory_on(step),
    )
    return fail(step, silent, now, limits, retryable=True)


def _suspicion(memory: HostMemory | None) -> str:
    if memory is None or not memory.is_short:
        return ""
    return (
        f". It held {memory.held / 2**30:.1f} GiB when it was last heard and {memory.free / 2**30:.1f} GiB were free: "
        "the system may have ended it for want of memory"
    )


def give_up(step: Step, problem: Problem, now: datetime, limits: Limits) -> Step:
    """Nobody can do the step: it ends without another attempt, unless somebody has started it."""
    if step.state == "waiting" or (step.state == "leased" and step.started_at is None):
        return fail(step, problem, now, limits, retryable=False)
    return step


def forget_result(step: Step) -> Step:
    """The object store has lost what this step made: it is computed again, without blame."""
    return Step(id=step.id, attempt=step.attempt) if step.state == "succeeded" else step


def retry(step: Step) -> Step:
    """A person asks for a failed step to be tried again, with all its attempts."""
    return Step(id=step.id, attempt=step.attempt) if step.state == "failed" else step
