"""A step's state as the rules see it, and what follows from the states of a plan's steps. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from touchstone_contracts.problems import Problem
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Phase, StepCounts, StepState


@dataclass(frozen=True)
class Step:
    """The part of a step that changes. Times are aware datetimes."""

    id: StepId
    state: StepState = "waiting"
    attempt: int = 0
    """Number of the last attempt that was handed out; reports name the attempt they speak of."""
    failures: int = 0
    """Attempts that failed or went silent after they had started, since one got further than all before."""
    lease_expires_at: datetime | None = None
    not_before: datetime | None = None
    """A waiting step is not handed out earlier: the pause before another attempt. Of a step that is handed out: since
    when it is done and its result cannot be read."""
    done: int = 0
    """Of `total`; as far as any attempt has come."""
    total: int | None = None
    worker: str | None = None
    problem: Problem | None = None
    """Why the last attempt failed."""
    log_tail: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    started_at: datetime | None = None
    """When the current attempt started; None while its message waits in the queue."""
    finished_at: datetime | None = None
    headline: str | None = None
    """What a finished judgement found, in one sentence."""


def ready_steps(
    steps: Mapping[StepId, Step], inputs: Mapping[StepId, Collection[StepId]], now: datetime
) -> list[StepId]:
    """Waiting steps that may start: their pause is over and every input succeeded. In the order of `steps`."""
    return [
        step.id
        for step in steps.values()
        if step.state == "waiting"
        and (step.not_before is None or step.not_before <= now)
        and all(steps[needed].state == "succeeded" for needed in inputs.get(step.id, ()))
    ]


def phase_of(counts: StepCounts, *, cancelled: bool = False, blocked: bool = False) -> Phase:
    """The phase of a plan from the counts of its steps; a plan without steps has succeeded.

    `blocked`: the plan that it waits for failed or was cancelled. Reused steps are not the plan's own work, so a plan
    of which nothing else moved is still queued."""
    if cancelled:
        return "cancelled"
    if counts.failed:
        return "failed"
    if not counts.waiting and not counts.leased:
        return "succeeded"
    if blocked:
        return "failed"
    return "running" if counts.leased or counts.succeeded > counts.reused else "queued"


ACTIVE: frozenset[Phase] = frozenset({"queued", "running"})
TERMINAL: frozenset[Phase] = frozenset({"succeeded", "failed", "cancelled"})
