"""Connections: SQLite (WAL, one writer) or Postgres, with separate reading and writing transactions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

from touchstone_store.outages import outages_translated

BUSY_MILLISECONDS = 15_000
_WRITE = "touchstone_write"


class Store:
    """`read()` and `write()` give sessions; a write commits when its block ends without an error."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.writer = engine.execution_options(**{_WRITE: True})
        self._read = sessionmaker(engine, expire_on_commit=False)
        self._write = sessionmaker(self.writer, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with outages_translated(), self._read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with outages_translated(), self._write.begin() as session:
            yield session

    def ping(self) -> None:
        """Raises Transient while the database cannot be used."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


def open_store(url: str) -> Store:
    if make_url(url).get_backend_name() != "sqlite":
        return Store(create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20))
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
