"""An error of the database tells its cause: what passes by itself, what a migration mends, and what is a bug."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.problems import Transient
from touchstone_store import outages
from touchstone_store.database import Store, open_store
from touchstone_store.listing import list_experiments
from touchstone_store.migrate import migrate
from touchstone_store.outages import WrongSchema, outages_translated
from touchstone_store.tables import PlanRow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path / 'test.db'}")


def run(store: Store, statement: str) -> None:
    with store.write() as session:
        session.execute(text(statement))


def test_a_missing_table_or_column_names_the_migration(store: Store) -> None:
    missing_table = r"no such table: experiments.*run `python -m touchstone_store.migrate`"
    with pytest.raises(WrongSchema, match=missing_table), store.read() as session:
        list_experiments(session, DEFAULT_PROJECT, after=None, limit=1)
    migrate(store, "0003")
    with pytest.raises(WrongSchema, match=r"no such column: experiments.*store.migrate"), store.read() as session:
        list_experiments(session, DEFAULT_PROJECT, after=None, limit=1)
    with pytest.raises(WrongSchema, match="no column named phase"):
        run(store, "INSERT INTO plans (id, phase) VALUES ('a', 'queued')")


def test_a_locked_database_is_an_outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(store)
    monkeypatch.setattr("touchstone_store.database.BUSY_MILLISECONDS", 10)
    store.close()  # connections that are opened from now on wait for ten milliseconds
    path = store.engine.url.database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient, match="locked by another process") as caught:
        run(store, "DELETE FROM plans")
    assert caught.value.code == "database"
    other.close()
    run(store, "DELETE FROM plans")


def test_a_request_that_finds_every_connection_waiting_is_an_outage(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'test.db'}", pool_size=1, max_overflow=0, pool_timeout=0.05)
    store = Store(engine)
    with store.read() as waiting:
        waiting.execute(text("SELECT 1"))
        with pytest.raises(Transient, match="all connections") as caught:
            store.ping()
    assert caught.value.code == "database"
    store.ping()
    store.close()


def test_a_file_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="cannot be opened"), open_store(f"sqlite:///{tmp_path}/no/test.db").read() as s:
        s.execute(text("SELECT 1"))


def test_a_fault_of_a_statement_is_a_bug_and_a_broken_rule_says_which(store: Store) -> None:
    migrate(store)
    with pytest.raises(OperationalError, match="syntax error"):
        run(store, "SELEKT 1")
    with pytest.raises(IntegrityError, match="NOT NULL"), store.write() as session:
        session.add(PlanRow(id="exp_a"))


class FromPostgres(Exception):
    """What psycopg raises, as far as it is looked at."""

    def __init__(self, message: str, sqlstate: str | None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "kind", "text"),
    [
        (None, OperationalError, outages.NO_ANSWER),
        ("57P01", OperationalError, "is being stopped"),
        ("40P01", OperationalError, "for the sake of another"),
        ("40001", OperationalError, "for the sake of another"),
        ("53300", OperationalError, "short of connections"),
        ("55P03", OperationalError, "holds a lock"),
        ("28P01", OperationalError, "TOUCHSTONE_DATABASE_URL"),
        ("42P01", DBAPIError, "touchstone_store.migrate"),
        ("42703", DBAPIError, "touchstone_store.migrate"),
    ],
)
def test_postgres_tells_by_its_states(sqlstate: str | None, kind: type[DBAPIError], text: str) -> None:
    with pytest.raises(Transient, match=text) as caught, outages_translated():
        raise kind("SELECT secret", {}, FromPostgres("password swordfish", sqlstate))
    assert caught.value.code == ("schema" if text.endswith("migrate") else "database")
    assert ("swordfish" in caught.value.detail) == text.endswith("migrate"), "what is missing is named, nothing else"


@pytest.mark.parametrize("sqlstate", ["42601", "22P02", "23505", "XX000"])
def test_other_states_of_postgres_are_bugs(sqlstate: str) -> None:
    with pytest.raises(DBAPIError), outages_translated():
        raise DBAPIError("SELECT 1", {}, FromPostgres("wrong", sqlstate))
