"""The stored plan of an experiment and of an upstream: what later releases read instead of planning again."""

from sqlalchemy.orm import Session
from touchstone_contracts.problems import NotFound
from touchstone_planning.dag import UpstreamLayout
from touchstone_planning.layout import StoredPlan

from touchstone_store.tables import PlanRow


def upstream_plan_id(name: str) -> str:
    return f"upstream/{name}"


def upstream_layout(session: Session, name: str) -> UpstreamLayout:
    """Raises NotFound where no such upstream has been registered."""
    row = session.get(PlanRow, upstream_plan_id(name))
    if row is None or row.layout is None:
        raise NotFound(f"upstream {name!r} has no plan; register it again")
    return UpstreamLayout.model_validate(row.layout)


def stored_plan_of(session: Session, experiment: str) -> StoredPlan:
    """Raises NotFound."""
    row = session.get(PlanRow, experiment)
    if row is None or row.layout is None:
        raise NotFound(f"experiment {experiment!r} has no stored plan")
    return StoredPlan.model_validate(row.layout)
