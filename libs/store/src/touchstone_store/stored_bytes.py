"""How many bytes results hold: of one plan, of each, of all. From SQL alone; a blob that several steps name counts
once."""

from collections.abc import Collection, Iterable

from sqlalchemy import Select, delete, exists, func, insert, select
from sqlalchemy.orm import Session, aliased
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.values import Digest, StepId
from touchstone_contracts.views import StoredBytes

from touchstone_store.steps import batches
from touchstone_store.tables import PlanRow, PlanStepRow, StepBlobRow

Pair = Select[str, str, int]


def note_blobs(session: Session, manifests: Iterable[StepManifest]) -> None:
    """Of steps whose rows are there."""
    known = list(manifests)
    forget_blobs(session, [manifest.step_id for manifest in known])
    rows = [
        {"step_id": manifest.step_id, "digest": digest, "size": size}
        for manifest in known
        for digest, size in {blob.digest: blob.size for blob in manifest.blobs}.items()
    ]
    if rows:
        session.execute(insert(StepBlobRow), rows)


def forget_blobs(session: Session, steps: Collection[StepId]) -> None:
    """Of steps that lost their results, or are deleted."""
    for batch in batches(sorted(steps)):
        session.execute(delete(StepBlobRow).where(StepBlobRow.step_id.in_(batch)))


def steps_with_blob(session: Session, digest: Digest) -> set[StepId]:
    """Steps whose results name it."""
    return set(session.scalars(select(StepBlobRow.step_id).where(StepBlobRow.digest == digest)))


def noted_among(session: Session, steps: Collection[StepId]) -> set[StepId]:
    found: set[StepId] = set()
    for batch in batches(sorted(steps)):
        found |= set(session.scalars(select(StepBlobRow.step_id).where(StepBlobRow.step_id.in_(batch)).distinct()))
    return found


def bytes_of_all(session: Session) -> int:
    """Of every step, of those too that no plan needs until they are collected."""
    blobs = select(StepBlobRow.digest, StepBlobRow.size).distinct().subquery()
    return int(session.scalar(select(func.coalesce(func.sum(blobs.c.size), 0))) or 0)


def bytes_of_project(session: Session, project: str) -> int:
    """Of every step that a plan of the project needs."""
    query = (
        select(StepBlobRow.digest, StepBlobRow.size)
        .join(PlanStepRow, PlanStepRow.step_id == StepBlobRow.step_id)
        .join(PlanRow, PlanRow.id == PlanStepRow.plan_id)
        .where(PlanRow.project_id == project)
        .distinct()
        .subquery()
    )
    return int(session.scalar(select(func.coalesce(func.sum(query.c.size), 0))) or 0)


def bytes_seen_by(session: Session, project: str) -> int:
    """Of all for the default project, which is the operators'; of its own for any other."""
    return bytes_of_all(session) if project == DEFAULT_PROJECT else bytes_of_project(session, project)


def bytes_of_plan(session: Session, plan: str) -> StoredBytes:
    other, theirs = aliased(StepBlobRow), aliased(PlanStepRow)
    pairs = _pairs().where(PlanStepRow.plan_id == plan).subquery()
    shared = exists(
        select(1)
        .select_from(other)
        .join(theirs, theirs.step_id == other.step_id)
        .where(other.digest == pairs.c.digest, theirs.plan_id != plan)
    )
    total = session.scalar(select(func.sum(pairs.c.size))) or 0
    return StoredBytes(total=int(total), own=int(session.scalar(select(func.sum(pairs.c.size)).where(~shared)) or 0))


def bytes_by_plan(session: Session, project: str) -> dict[str, StoredBytes]:
    """Of every plan of the project whose results hold some. Own: needed by no other plan of any project."""
    pairs = _pairs().subquery()
    totals = select(pairs.c.plan_id, func.sum(pairs.c.size)).group_by(pairs.c.plan_id)
    alone = (
        select(func.min(pairs.c.plan_id).label("plan_id"), pairs.c.size)
        .group_by(pairs.c.digest, pairs.c.size)
        .having(func.count() == 1)
        .subquery()
    )
    own = dict(session.execute(select(alone.c.plan_id, func.sum(alone.c.size)).group_by(alone.c.plan_id)).all())
    theirs = set(session.scalars(select(PlanRow.id).where(PlanRow.project_id == project)))
    return {
        plan: StoredBytes(total=int(total), own=int(own.get(plan, 0)))
        for plan, total in session.execute(totals).all()
        if plan in theirs
    }


def _pairs() -> Pair:
    """Each blob of each plan once."""
    return (
        select(PlanStepRow.plan_id, StepBlobRow.digest, StepBlobRow.size)
        .join(StepBlobRow, StepBlobRow.step_id == PlanStepRow.step_id)
        .distinct()
    )
