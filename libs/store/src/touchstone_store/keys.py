"""API keys and logins in SQL. Keys are long and random, so that their plain sha256 is what is stored of them."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from touchstone_contracts.access import SCOPES, CreatedKey, KeyView, NewKey, Scope
from touchstone_contracts.problems import NotFound

from touchstone_store.tables import ApiKeyRow, LoginRow

KEY_MARK = "ts_"
"""What keys begin with, so that scanners for leaked secrets know them."""
SHOWN = 9
"""Characters of a key that are stored as they are."""
LOGIN_HOURS = 12


@dataclass(frozen=True)
class Principal:
    """Who asks, and what they may do."""

    project: str
    """Its id."""
    scope: Scope
    actor: str
    """For the audit log."""
    csrf: str | None = None
    """What forms of the login must carry; None where a key came with the request."""


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create_key(session: Session, project: str, wanted: NewKey, now: datetime) -> CreatedKey:
    key = KEY_MARK + secrets.token_urlsafe(32)
    row = ApiKeyRow(
        id=secrets.token_hex(8),
        project_id=project,
        digest=digest_of(key),
        prefix=key[:SHOWN],
        label=wanted.label,
        scope=wanted.scope,
        created_at=now,
        expires_at=now + timedelta(days=wanted.expires_in_days) if wanted.expires_in_days else None,
    )
    session.add(row)
    session.flush()
    return CreatedKey(**key_view(row).model_dump(), key=key)


def key_view(row: ApiKeyRow) -> KeyView:
    return KeyView.model_validate(row, from_attributes=True)


def list_keys(session: Session, project: str, *, after: str | None, limit: int) -> list[KeyView]:
    """By id; `after` is the one that the page starts after."""
    query = select(ApiKeyRow).where(ApiKeyRow.project_id == project).order_by(ApiKeyRow.id).limit(limit)
    if after is not None:
        query = query.where(ApiKeyRow.id > after)
    return [key_view(row) for row in session.scalars(query)]


def revoke_key(session: Session, project: str, key: str, now: datetime) -> None:
    """Every login with it ends too. Raises NotFound."""
    row = session.get(ApiKeyRow, key)
    if row is None or row.project_id != project:
        raise NotFound(f"this project has no key {key!r}")
    row.revoked_at = row.revoked_at or now
    session.execute(delete(LoginRow).where(LoginRow.key_id == key))


def find_key(session: Session, key: str, now: datetime) -> ApiKeyRow | None:
    """None where there is none such, it has expired or is revoked."""
    row = session.scalar(select(ApiKeyRow).where(ApiKeyRow.digest == digest_of(key)))
    return row if row is not None and _is_valid(row, now) else None


def _is_valid(row: ApiKeyRow, now: datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)


def principal_of_key(row: ApiKeyRow) -> Principal:
    return Principal(project=row.project_id, scope=_scope(row.scope), actor=row.id)


def _scope(stored: str) -> Scope:
    return next(scope for scope in SCOPES if scope == stored)


def log_in(session: Session, project: str, scope: Scope, subject: str, key_id: str | None, now: datetime) -> str:
    """The cookie of a new login."""
    cookie = secrets.token_urlsafe(32)
    session.execute(delete(LoginRow).where(LoginRow.expires_at <= now))
    session.add(
        LoginRow(
            digest=digest_of(cookie),
            project_id=project,
            key_id=key_id,
            subject=subject[:200],
            scope=scope,
            csrf=secrets.token_urlsafe(32),
            expires_at=now + timedelta(hours=LOGIN_HOURS),
        )
    )
    session.flush()
    return cookie


def find_login(session: Session, cookie: str, now: datetime) -> Principal | None:
    """None where it has ended, or the key that it was made with is not valid any more."""
    row = session.get(LoginRow, digest_of(cookie))
    if row is None or row.expires_at <= now:
        return None
    if row.key_id is not None and not _is_valid(session.get_one(ApiKeyRow, row.key_id), now):
        return None
    return Principal(project=row.project_id, scope=_scope(row.scope), actor=f"login:{row.subject}", csrf=row.csrf)


def log_out(session: Session, cookie: str) -> None:
    session.execute(delete(LoginRow).where(LoginRow.digest == digest_of(cookie)))
