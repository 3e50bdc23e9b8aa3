"""Creating what another process may create at the same moment."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from touchstone_contracts.problems import Transient

from touchstone_store.tables import Base

T = TypeVar("T")

TRIES = 4
"""Another process may create the same at the same moment; the second try finds it."""


def created_or_found(attempt: Callable[[], T], contended: str) -> T:
    """What `attempt` returns, which finds what is there or creates it in a transaction of its own. It is repeated where
    another process was first. Raises Transient with the detail `contended` where others always are."""
    for _ in range(TRIES):
        try:
            return attempt()
        except IntegrityError:
            continue
    raise Transient(f"{contended}; try again", code="contended")


def insert_into(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of the session's own database, which may say what happens where a row is there already."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(table)
