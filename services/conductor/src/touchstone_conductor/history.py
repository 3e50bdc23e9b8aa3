"""What a step's change means to those who watch. Pure."""

from typing import Any

from touchstone_planning.state import Step
from touchstone_store.events import STEP_FAILED, STEP_PROGRESSED, STEP_STARTED, STEP_SUCCEEDED


def event_of(before: Step, after: Step) -> tuple[str, dict[str, Any]] | None:
    """The event to tell and its data; None for changes that concern the conductor alone."""
    if after.state == "succeeded":
        return (STEP_SUCCEEDED, {"seconds": after.seconds}) if before.state != "succeeded" else None
    if after.failures > before.failures:
        assert after.problem is not None  # transitions.fail sets it
        problem = after.problem.model_dump(mode="json")
        return STEP_FAILED, {"attempt": before.attempt, "final": after.state == "failed", "problem": problem}
    if after.started_at is not None and before.started_at is None:
        return STEP_STARTED, {"attempt": after.attempt, "worker": after.worker}
    if (after.done, after.total) != (before.done, before.total):
        return STEP_PROGRESSED, {"done": after.done, "total": after.total}
    return None
