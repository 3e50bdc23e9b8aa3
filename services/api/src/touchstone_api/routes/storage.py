"""/v1/storage: how many bytes results hold, and whose they are."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from touchstone_contracts.views import PlanBytes, Storage
from touchstone_store.experiments import experiment_names
from touchstone_store.layouts import upstream_of
from touchstone_store.projects import limits_of
from touchstone_store.stored_bytes import bytes_by_plan, bytes_seen_by

from touchstone_api.access.authorise import PrincipalHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented

router = APIRouter(prefix="/v1/storage", tags=["storage"])


@router.get("", responses=documented(422, 503))
def get_storage(
    principal: PrincipalHere, services: ServicesHere, limit: Annotated[int, Query(ge=0, le=1000)] = 50
) -> Storage:
    """Of the project, by experiment and upstream, those first that hold most of their own. Counted in the database: no
    object is read, and what steps at work have written is not part of it. The default project, which is the operators',
    is told the total of all."""
    with services.store.read() as session:
        return Storage(
            total=bytes_seen_by(session, principal.project),
            quota=limits_of(session, principal.project).bytes_stored or services.settings.quota_bytes,
            largest=tuple(_plans(session, principal.project)[:limit]),
        )


def _plans(session: Session, project: str) -> list[PlanBytes]:
    found, names = bytes_by_plan(session, project), experiment_names(session)
    plans = [
        PlanBytes(id=plan, name=names.get(plan) or upstream_of(plan), total=held.total, own=held.own)
        for plan, held in found.items()
    ]
    return sorted(plans, key=lambda plan: (-plan.own, -plan.total, plan.id))
