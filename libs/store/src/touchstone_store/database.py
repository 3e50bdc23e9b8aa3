"""Connections: SQLite (WAL, one writer) or Postgres, with separate reading and writing transactions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker
from touchstone_runtime.crash_points import crash_points

from touchstone_store.outages import outages_translated

BUSY_MILLISECONDS = 15_000
ANSWER_SECONDS = 35.0
"""For one statement on Postgres: longer than the server's own limits (postgres.py), so that its reason is told where it
has one."""
_WRITE = "touchstone_write"
_TRANSITIONS = "touchstone_transitions"


class Store:
    """`read()` and `write()` give sessions; a write commits when its block ends without an error."""

    def __init__(self, engine: Engine, ca_file: Path | None = None) -> None:
        self.engine, self._ca_file = engine, ca_file
        self.writer = engine.execution_options(**{_WRITE: True})
        self._read = sessionmaker(engine, expire_on_commit=False)
        self._write = sessionmaker(self.writer, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with outages_translated(), self._read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with outages_translated(), self._write() as session:
            yield session
            with crash_points(session.info.pop(_TRANSITIONS, ())):
                session.commit()

    def ping(self) -> None:
        """Raises Transient while the database cannot be used."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    @contextmanager
    def unhurried(self) -> Iterator["Store"]:
        """The same database for work of any length, such as a migration: no statement and no lock has a limit."""
        if self.engine.dialect.name == "sqlite":
            yield self
            return
        # psycopg is 10 MB that SQLite does not need.
        from touchstone_store.postgres import postgres_engine

        store = Store(postgres_engine(self.engine.url, None, self._ca_file))
        try:
            yield store
        finally:
            store.close()

    def close(self) -> None:
        self.engine.dispose()


def note_transition(session: Session, name: str) -> None:
    """What the transaction will have done once it is committed, as a crash point."""
    session.info.setdefault(_TRANSITIONS, set()).add(name)


def open_store(url: str, answer_seconds: float = ANSWER_SECONDS, ca_file: Path | None = None) -> Store:
    """`answer_seconds`: see ANSWER_SECONDS; shorter in tests. `ca_file`: see RuntimeSettings."""
    if make_url(url).get_backend_name() != "sqlite":
        from touchstone_store.postgres import postgres_engine

        return Store(postgres_engine(make_url(url), answer_seconds, ca_file), ca_file)
    engine = create_engine(url, connect_args={"timeout": BUSY_MILLISECONDS / 1000, "check_same_thread": False})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Store(engine)


def _configure_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # Python's driver would begin transactions by itself, and late; _begin_sqlite does it instead.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",  # safe against a killed process; a power cut may lose the last commits, never integrity
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MILLISECONDS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: a transaction that upgrades from reading cannot wait and fails as "locked".
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
