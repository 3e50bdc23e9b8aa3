"""The audit log: which request of whom could have changed what."""

from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session
from touchstone_contracts.access import AuditEntry

from touchstone_store.tables import AuditRow


def note_request(
    session: Session, project: str, actor: str, action: str, object_: str, request_id: str | None, now: datetime
) -> int:
    """The number of the entry; what becomes of the request is noted by `note_status`."""
    values = {
        "project_id": project,
        "actor": actor[:220],
        "action": action[:80],
        "object": object_[:300],
        "request_id": request_id,
        "at": now,
    }
    return int(session.execute(insert(AuditRow).values(values).returning(AuditRow.id)).scalar_one())


def note_status(session: Session, entry: int, status: int) -> None:
    session.execute(update(AuditRow).where(AuditRow.id == entry).values(status=status))


def list_audit(session: Session, project: str, *, before: int | None, limit: int) -> list[AuditEntry]:
    """Newest first; `before` is the number that the page starts after."""
    query = select(AuditRow).where(AuditRow.project_id == project).order_by(AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.id < before)
    return [AuditEntry.model_validate(row, from_attributes=True) for row in session.scalars(query)]
