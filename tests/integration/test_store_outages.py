"""What a real Postgres raises is told apart as test_store_outages.py of the unit tests says."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.problems import Transient
from touchstone_store.database import open_store
from touchstone_store.listing import list_experiments
from touchstone_store.migrate import migrate
from touchstone_store.outages import NO_ANSWER, WrongSchema


def test_missing_tables_and_columns_name_the_migration(postgres_url: str) -> None:
    store = open_store(postgres_url)
    for revision, missing in (("0003", "experiments"), ("head", "archived_at")):
        with pytest.raises(WrongSchema, match=rf"{missing}.*touchstone_store\.migrate"), store.read() as session:
            list_experiments(session, DEFAULT_PROJECT, after=None, limit=1)
        migrate(store, revision)
    with store.read() as session:
        assert list_experiments(session, DEFAULT_PROJECT, after=None, limit=1) == []
    with pytest.raises(ProgrammingError, match="syntax error"), store.read() as session:
        session.execute(text("SELEKT 1"))
    store.close()


def test_a_connection_that_is_ended_or_never_made_is_an_outage(postgres_url: str) -> None:
    store = open_store(postgres_url)
    with pytest.raises(Transient, match=r"is being stopped|does not answer") as caught, store.read() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert caught.value.code == "database"
    store.ping()
    store.close()
    nobody = open_store("postgresql+psycopg://nobody:nothing@127.0.0.1:1/touchstone")
    with pytest.raises(Transient) as refused:
        nobody.ping()
    assert (refused.value.code, refused.value.detail) == ("database", NO_ANSWER)
