"""Idempotency keys: names that callers give to requests which create something. Every project has its own."""

from datetime import datetime

from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.identity import canonical_json, identity, sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.values import Digest, Posted

from touchstone_store.tables import IdempotencyKeyRow


class KeyReused(Invalid):
    """A key belongs to one request for ever: repeated, it asks for the same again."""

    code = "idempotency_key_reused"


def recall(session: Session, project: str, key: str, request: Digest) -> IdempotencyKeyRow | None:
    """None where the key is new. `request`: of what is asked. Raises KeyReused where it was another."""
    row = session.get(IdempotencyKeyRow, _stored(project, key))
    if row is not None and row.body_digest != request:
        raise KeyReused("this Idempotency-Key was used with another request; give each request a key of its own")
    return row


def remember(
    session: Session, project: str, key: str, request: Digest, now: datetime, experiment: str | None = None
) -> None:
    """With the experiment that was created, and as long as that is kept. Raises KeyReused."""
    if recall(session, project, key, request) is None:
        stored = _stored(project, key)
        session.add(IdempotencyKeyRow(key=stored, body_digest=request, experiment_id=experiment, created_at=now))
        session.flush()


def _stored(project: str, key: str) -> str:
    """Those of the default project are kept as they were before there were others."""
    return key if project == DEFAULT_PROJECT else identity([project, key])


def digest_of_posted(kind: str, posted: Posted) -> Digest:
    """Unlike an identity also of what says where bytes lie."""
    return sha256(canonical_json({"kind": kind, "body": posted.model_dump(mode="json")}))
