"""The api is ready when its servers answer and the database has the schema of this version; on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, text
from support.memory_services import api_client
from touchstone_api.bootstrap import Services, readiness_checks
from touchstone_api.settings import ApiSettings
from touchstone_contracts.problems import Problem
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import S3Objects
from touchstone_store.database import open_store
from touchstone_store.migrate import known_revisions, migrate


@pytest.fixture(params=["sqlite", "postgres"])
def unmigrated(request: pytest.FixtureRequest, tmp_path: Path, s3_objects: S3Objects) -> Iterator[Services]:
    """An api on an empty database, as it runs where a job of its own migrates."""
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    store = open_store(empty if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield Services(
        store=store,
        artifacts=Artifacts(s3_objects),
        settings=ApiSettings(),
        checks=readiness_checks(store, s3_objects),
    )
    store.close()


def told(services: Services) -> list[tuple[str, str]]:
    """What /readyz says is wrong."""
    answer = api_client(services).get("/readyz")
    if answer.status_code == 200:
        assert answer.json() == {"database": "ok", "object_store": "ok"}
        return []
    assert answer.status_code == 503
    return [(error.pointer, error.detail) for error in Problem.model_validate(answer.json()).errors]


def test_an_api_on_a_database_without_schema_is_ready_only_after_the_migration(unmigrated: Services) -> None:
    assert told(unmigrated) == [("/database", "database has no schema: run the migration")]
    migrate(unmigrated.store)
    assert told(unmigrated) == []


@pytest.mark.parametrize(
    ("revision", "advice"),
    [
        ("0001", "database has the schema 0001 of an earlier version, not {head}: run the migration"),
        ("9999", "database has the schema 9999 of a later version, this one knows {head}: run the later version again"),
    ],
)
def test_an_api_is_not_ready_on_the_schema_of_another_version(unmigrated: Services, revision: str, advice: str) -> None:
    migrate(unmigrated.store)
    with unmigrated.store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    [(pointer, detail)] = told(unmigrated)
    assert pointer == "/database"
    assert detail.startswith(advice.format(head=known_revisions()[0]))


def test_asking_whether_it_is_ready_costs_two_short_questions(unmigrated: Services) -> None:
    migrate(unmigrated.store)
    assert told(unmigrated) == []
    asked: list[str] = []
    event.listen(unmigrated.store.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    assert told(unmigrated) == []
    questions = [statement for statement in asked if statement != "BEGIN"]
    assert len(questions) == 2, questions
    assert "version_num" in questions[-1]
