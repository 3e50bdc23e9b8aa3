"""What went wrong with the database, by the driver's error codes: what passes by itself is Transient, a missing table
or column says to migrate, and everything else is a bug that keeps its traceback."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from touchstone_contracts.problems import Transient

# Texts name no file, address or user: they travel over HTTP.
NO_ANSWER = "the database does not answer"
NOT_TRUSTED = (
    "the database cannot be reached over TLS that is verified: set TOUCHSTONE_CA_FILE to the certificate of who signed "
    "its own, or sslmode in TOUCHSTONE_DATABASE_URL"
)
ALL_WAITING = "all connections to the database are waiting for it"
_SQLITE_OUTAGES = {
    sqlite3.SQLITE_BUSY: "the database is locked by another process; try again",
    sqlite3.SQLITE_LOCKED: "the database is locked by another connection; try again",
    sqlite3.SQLITE_IOERR: "the database's file cannot be read or written: look at its disk",
    sqlite3.SQLITE_CANTOPEN: "the database's file cannot be opened: look at its folder and who may write there",
    sqlite3.SQLITE_FULL: "the disk of the database is full",
    sqlite3.SQLITE_PROTOCOL: "the database is locked by too many processes; try again",
}
_SQLITE_PRIMARY = 0xFF
"""Extended codes hold the primary one in their lowest byte."""
_POSTGRES_OUTAGES = {
    "08": NO_ANSWER,
    "25P03": "the database has ended a transaction in which nothing happened; try again",
    "28": "the database refuses this user: look at TOUCHSTONE_DATABASE_URL",
    "40": "the database ended the transaction for the sake of another; try again",
    "53": "the database is short of connections, memory or disk",
    "55": "the database holds a lock that was needed; try again",
    "57": "the database is being stopped, or has ended the statement",
}
"""By SQLSTATE or its class, which is its first two characters."""
_POSTGRES_MISSING = frozenset({"42P01", "42703"})
"""undefined_table, undefined_column."""


class WrongSchema(Transient):
    """The database answers, but its schema is not the one this code was written for; the message says what to do."""

    code = "schema"


@contextmanager
def outages_translated() -> Iterator[None]:
    """Raises Transient (code `database`) or WrongSchema from errors of the driver; other errors pass."""
    try:
        yield
    except PoolTimeout as error:
        raise Transient(ALL_WAITING, code="database") from error
    except DBAPIError as error:
        failure = _failure_of(error)
        if failure is None:
            raise
        raise failure from error


def _failure_of(error: DBAPIError) -> Transient | None:
    if isinstance(error.orig, sqlite3.Error):
        outage, missing = _sqlite(error.orig)
    else:
        outage, missing = _postgres(error)
    if missing:
        return WrongSchema(
            f"the database lacks what this version needs ({missing}): run `python -m touchstone_store.migrate`"
        )
    return None if outage is None else Transient(outage, code="database")


def _sqlite(error: sqlite3.Error) -> tuple[str | None, str]:
    """(outage, what is missing)"""
    text = str(error)
    # SQLite has one code for every fault of a statement.
    if text.startswith(("no such table", "no such column")) or "has no column named" in text:
        return None, text
    # The driver's own errors have none, as of a closed connection.
    return _SQLITE_OUTAGES.get(getattr(error, "sqlite_errorcode", 0) & _SQLITE_PRIMARY), ""


def _postgres(error: DBAPIError) -> tuple[str | None, str]:
    """(outage, what is missing)"""
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRES_MISSING:
        return None, str(error.orig).splitlines()[0]
    if state is None:
        # A connection that was not made or broke has no SQLSTATE.
        lost = error.connection_invalidated or type(error).__name__ == "OperationalError"
        words = str(error.orig)
        refused = "certificate" in words or "SSL" in words
        return (NOT_TRUSTED if refused else NO_ANSWER) if lost else None, ""
    return _POSTGRES_OUTAGES.get(state) or _POSTGRES_OUTAGES.get(state[:2]), ""
