"""What a project may have at once and in a month, before new experiments are refused."""

from datetime import datetime

from sqlalchemy.orm import Session
from touchstone_contracts.access import Limits, Use
from touchstone_contracts.problems import Invalid
from touchstone_planning.dag import Plan
from touchstone_planning.estimate import workload
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_store.projects import limits_of, use_of
from touchstone_store.stored_bytes import bytes_of_all


class QuotaExceeded(Invalid):
    code = "quota_exceeded"
    status = 409
    title = "The quota is used up"


def most_steps_of(session: Session, project: str, server_limit: int) -> int:
    """Of one plan."""
    return min(server_limit, limits_of(session, project).steps_in_a_plan or server_limit)


def require_quota(
    session: Session, project: str, resolved: ResolvedExperiment, plan: Plan, server_bytes: int | None, now: datetime
) -> None:
    """Raises QuotaExceeded where an experiment with this plan is more than the project or the server allows."""
    _require_room(session, server_bytes)
    limits = limits_of(session, project)
    if limits == Limits():
        return
    images = workload(resolved, plan).images_generated
    if limits.images_generated is not None and images > limits.images_generated:
        raise QuotaExceeded(
            f"the experiment would generate {images:,} images, an experiment of this project may generate "
            f"{limits.images_generated:,}: lower `images` of its generation arms"
        )
    _require_room_of_project(limits, use_of(session, project, now))


def require_search_quota(session: Session, project: str, server_bytes: int | None, now: datetime) -> None:
    """As `require_quota`, for a search, which does not count as an active experiment."""
    _require_room(session, server_bytes)
    limits = limits_of(session, project)
    if limits != Limits():
        _require_bytes_and_seconds(limits, use_of(session, project, now))


def _require_room_of_project(limits: Limits, use: Use) -> None:
    active = limits.active_experiments
    if active is not None and use.active_experiments >= active:
        raise QuotaExceeded(
            f"this project has {use.active_experiments} experiments under way and may have {active}: wait for one to "
            "end, or cancel one"
        )
    _require_bytes_and_seconds(limits, use)


def _require_bytes_and_seconds(limits: Limits, use: Use) -> None:
    held, gpu = limits.bytes_stored, limits.gpu_seconds_a_month
    if held is not None and use.bytes_stored >= held:
        raise QuotaExceeded(
            f"results of this project hold {use.bytes_stored:,} bytes and may hold {held:,}: delete experiments (GET "
            "/v1/storage lists the largest)"
        )
    if gpu is not None and use.gpu_seconds_this_month >= gpu:
        raise QuotaExceeded(
            f"this project has used {use.gpu_seconds_this_month:,.0f} GPU seconds of its {gpu:,} of this month: wait "
            "for the next, or ask the operator for more"
        )


def _require_room(session: Session, quota: int | None) -> None:
    if quota is None:
        return
    held = bytes_of_all(session)
    if held >= quota:
        raise QuotaExceeded(
            f"results hold {held} bytes, the quota is {quota} (TOUCHSTONE_QUOTA_BYTES): delete experiments (GET "
            "/v1/storage lists the largest), then have an operator collect what they leave (make collect DELETE=1)"
        )
