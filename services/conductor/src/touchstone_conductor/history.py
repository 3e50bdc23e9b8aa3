"""What a step's change means to those who watch. Pure."""

from touchstone_planning.state import Step
from touchstone_store.events import STEP_FAILED, STEP_STARTED, STEP_SUCCEEDED
from touchstone_store.plans import StepEvent


def event_of(before: Step, after: Step) -> StepEvent | None:
    """The event to tell and its data; None for changes that concern the conductor alone, and for
    progress, which no history tells."""
    if after.state == "succeeded":
        return (STEP_SUCCEEDED, {"seconds": after.seconds}) if before.state != "succeeded" else None
    if after.failures > before.failures:
        assert after.problem is not None  # transitions.fail sets it
        problem = after.problem.model_dump(mode="json")
        return STEP_FAILED, {"attempt": before.attempt, "final": after.state == "failed", "problem": problem}
    if after.started_at is not None and before.started_at is None:
        return STEP_STARTED, {"attempt": after.attempt, "worker": after.worker}
    return None
