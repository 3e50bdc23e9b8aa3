"""What may happen to a step. Pure: a step and a fact in, the next step out.

Deliveries are at least once and reports may be lost, doubled, late and out of order. Whatever happens: a success
counts whichever attempt it comes from (same identity, same result) and is never taken back by a report; a failure
counts only when the current attempt reports it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from touchstone_contracts.messages import StepFailed, StepManifest, StepProgressed, StepReport, StepStarted
from touchstone_contracts.problems import Problem

from touchstone_planning.state import Step


@dataclass(frozen=True)
class Limits:
    """How patient the conductor is."""

    lease: timedelta = timedelta(seconds=30)
    max_failures: int = 3
    retry: timedelta = timedelta(seconds=2)
    """Pause after the first failure; doubles with each further one."""


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
        done=0,
        total=None,
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
        return replace(renewed, done=max(step.done, report.done), total=report.total or step.total)
    if isinstance(report, StepFailed):
        if report.problem.code == "cancelled":
            return release(step)
        return fail(step, report.problem, now, limits, retryable=report.retryable, log_tail=report.log_tail)
    return step


def fail(step: Step, problem: Problem, now: datetime, limits: Limits, *, retryable: bool, log_tail: str = "") -> Step:
    """Another attempt after a pause, or the end when repeating cannot help or was tried often enough."""
    failures = step.failures + 1
    failed = replace(step, failures=failures, lease_expires_at=None, problem=problem, log_tail=log_tail or None)
    if not retryable or failures >= limits.max_failures:
        return replace(failed, state="failed", finished_at=now)
    return replace(failed, state="waiting", worker=None, not_before=now + limits.retry * 2 ** (failures - 1))


def expire(step: Step, now: datetime, limits: Limits, *, still_queued: bool) -> Step:
    """A lease ran out and no manifest exists. `still_queued`: its message is known to wait for a worker."""
    if step.state != "leased" or step.lease_expires_at is None or step.lease_expires_at > now:
        return step
    if step.started_at is None:
        return renew(step, now, limits) if still_queued else release(step)
    silent = Problem(
        title="Worker went silent",
        status=503,
        code="lease_expired",
        detail=f"{step.worker or 'the worker'} gave no sign of life for {limits.lease.total_seconds():g} seconds",
    )
    return fail(step, silent, now, limits, retryable=True)


def give_up(step: Step, problem: Problem, now: datetime, limits: Limits) -> Step:
    """Nobody can do the step: it ends without another attempt, unless somebody has started it."""
    if step.state == "waiting" or (step.state == "leased" and step.started_at is None):
        return fail(step, problem, now, limits, retryable=False)
    return step


def forget_result(step: Step) -> Step:
    """The object store has lost what this step made: it is computed again, without blame."""
    return Step(id=step.id, attempt=step.attempt)


def retry(step: Step) -> Step:
    """A person asks for a failed step to be tried again, with all its attempts."""
    return Step(id=step.id, attempt=step.attempt) if step.state == "failed" else step
