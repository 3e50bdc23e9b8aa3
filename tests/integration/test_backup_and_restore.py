"""`backup` and `restore` as processes on real servers: a verdict is read in a system that was empty, whichever of the
two databases either system has."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import OPERATOR_KEY, api_client
from touchstone_api.bootstrap import Services
from touchstone_api.settings import ApiSettings
from touchstone_conductor.scrub import Scrub
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.settings import RuntimeSettings
from touchstone_store.database import open_store
from touchstone_store.migrate import migrate


@dataclass(frozen=True)
class System:
    """A database and a bucket of its own, without a process at work."""

    services: Services

    def runs(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = self.services.settings
        environment = {
            "TOUCHSTONE_DATABASE_URL": settings.database_url.get_secret_value(),
            "TOUCHSTONE_S3_ENDPOINT": settings.s3_endpoint,
            "TOUCHSTONE_S3_ACCESS_KEY": settings.s3_access_key,
            "TOUCHSTONE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
            "TOUCHSTONE_S3_BUCKET": settings.s3_bucket,
        }
        run = [sys.executable, "-m", f"touchstone_conductor.{command}", *arguments]
        return subprocess.run(run, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)

    def get(self, path: str) -> bytes:
        return api_client(self.services).get(path).content


@contextmanager
def system(url: str, s3: RuntimeSettings) -> Iterator[System]:
    """Empty: not even the bucket is there."""
    shared = {name: getattr(s3, name) for name in ("s3_endpoint", "s3_access_key", "s3_secret_key")}
    bucket = f"touchstone-{secrets.token_hex(6)}"
    key = SecretStr(OPERATOR_KEY)
    settings = ApiSettings(database_url=SecretStr(url), s3_bucket=bucket, operator_key=key, **shared)
    store = open_store(url)
    try:
        yield System(Services(store, Artifacts(connect_objects(settings)), settings))
    finally:
        store.close()


def url_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder / f'{secrets.token_hex(6)}.db'}"
    return str(request.getfixturevalue("new_database")(request.getfixturevalue("postgres_server")))


def finished_experiment(there: System) -> Told:
    migrate(there.services.store)
    connect_objects(there.services.settings).create_bucket()
    told = post_experiment(there.services)
    finish_experiment(there.services, told)
    return told


@contextmanager
def two_systems(
    first: str, second: str, s3: RuntimeSettings, folder: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[System, System]]:
    with system(url_of(first, folder, request), s3) as ours, system(url_of(second, folder, request), s3) as other:
        yield ours, other


def backed_up(ours: System, folder: Path) -> Told:
    told = finished_experiment(ours)
    saved = ours.runs("backup", str(folder))
    assert (saved.returncode, "0 damaged" in saved.stdout) == (0, True), saved.stderr
    return told


@pytest.mark.parametrize(("first", "second"), [("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "postgres")])
def test_a_verdict_is_read_after_a_restore_into_an_empty_system(
    first: str, second: str, s3_settings: RuntimeSettings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "backup"
    with two_systems(first, second, s3_settings, tmp_path, request) as (ours, other):
        told = backed_up(ours, folder)
        restored = other.runs("restore", str(folder))
        assert restored.returncode == 0, restored.stderr
        for path in ("verdict", "results", "predictions"):
            assert other.get(f"/v1/experiments/{told.id}/{path}") == ours.get(f"/v1/experiments/{told.id}/{path}")
        assert b'"answer"' in other.get(f"/v1/experiments/{told.id}/verdict")
        assert Scrub(other.services.store, other.services.artifacts).run().repeated == []
        assert other.runs("restore", str(folder), "--replace").returncode == 0
        clone = api_client(other.services).post(f"/v1/experiments/{told.id}/clone", json={"seeds": [0, 1]})
        assert clone.status_code == 201


def test_what_is_there_is_not_copied_again_and_nothing_is_replaced_unasked(
    s3_settings: RuntimeSettings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "backup"
    with two_systems("sqlite", "postgres", s3_settings, tmp_path, request) as (ours, other):
        backed_up(ours, folder)
        again = ours.runs("backup", str(folder))
        assert " 0 objects of 0.0 MiB copied" in again.stdout
        assert other.runs("restore", str(folder)).returncode == 0
        refused = other.runs("restore", str(folder))
        assert (refused.returncode, "--replace" in refused.stderr) == (1, True)
        assert other.runs("restore", str(folder), "--replace", "--database=none.gz").returncode == 1
        nowhere = ours.runs("backup", "/proc/backup")
        assert (nowhere.returncode, "Traceback" in nowhere.stderr) == (2, False)
