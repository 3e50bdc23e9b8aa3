"""Backup and restore without servers: what comes back is what was there, whenever either of them is killed."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import api_client, memory_services
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_api.submission import submit_experiment
from touchstone_conductor.backup import BackedUp, Backup
from touchstone_conductor.backup_folder import BackupFolder, NoBackup
from touchstone_conductor.restore import Restore, Restored
from touchstone_conductor.scrub import Scrub
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.keys import savepoint_key
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_store.dump import HoldsExperiments, UnusableDump
from touchstone_store.migrate import is_current
from touchstone_store.tables import Base, EventRow


@dataclass
class System:
    services: Services
    objects: MemoryObjects
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def backup(self, folder: Path, *, prune: bool = False) -> BackedUp:
        self.time += timedelta(hours=1)
        return Backup(self.services.store, self.objects, BackupFolder(folder), prune, lambda: self.time).run()

    def restore(self, folder: Path, *, replace: bool = False) -> Restored:
        return Restore(self.services.store, self.objects, BackupFolder(folder), replace=replace).run()

    def get(self, path: str) -> bytes:
        return api_client(self.services).get(path).content

    def rows(self) -> dict[str, list[str]]:
        with self.services.store.read() as session:
            return {
                table.name: sorted(map(str, session.execute(select(table)))) for table in Base.metadata.sorted_tables
            }

    def stored(self) -> dict[str, bytes]:
        return {stored.key: self.objects.get(stored.key) for stored in self.objects.listed("")}


NewSystem = Callable[[str], System]


@pytest.fixture
def new_system(tmp_path: Path) -> NewSystem:
    def made(name: str) -> System:
        folder, objects = tmp_path / name, MemoryObjects()
        folder.mkdir()
        return System(memory_services(folder, Artifacts(objects)), objects)

    return made


@pytest.fixture
def system(new_system: NewSystem) -> System:
    return new_system("first")


@pytest.fixture
def finished(system: System) -> Told:
    told = post_experiment(system.services)
    finish_experiment(system.services, told)
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_what_comes_back_into_an_empty_system_is_what_was_there(
    system: System, finished: Told, folder: Path, new_system: NewSystem
) -> None:
    done = system.backup(folder)
    other = new_system("second")
    back = other.restore(folder)
    assert (back.rows, back.copied, back.damaged) == (done.rows, len(system.stored()), [])
    assert (other.rows(), other.stored()) == (system.rows(), system.stored())
    for path in ("/verdict", "/results", "/predictions", "/registration", "/manifest"):
        assert other.get(f"/v1/experiments/{finished.id}{path}") == system.get(f"/v1/experiments/{finished.id}{path}")
    assert Scrub(other.services.store, other.services.artifacts).run().repeated == []


def test_a_restored_system_works_on(system: System, finished: Told, folder: Path, new_system: NewSystem) -> None:
    system.backup(folder)
    other = new_system("second")
    other.restore(folder)
    with other.services.store.read() as session:
        last = session.scalar(select(func.max(EventRow.id)))
    later = submit_experiment(other.services, DEFAULT_PROJECT, spec(seeds=(0, 1)))
    assert later.created
    with other.services.store.read() as session:
        assert (session.scalar(select(func.max(EventRow.id))) or 0) > (last or 0) > 0


def test_a_second_backup_copies_what_is_new_and_keeps_the_copies_of_the_database(
    system: System, finished: Told, folder: Path
) -> None:
    first = system.backup(folder)
    again = system.backup(folder)
    assert (again.copied, again.there) == (0, first.copied)
    blob = system.services.artifacts.put_blob(b"one more")
    assert system.backup(folder).copied == 1
    assert (folder / "objects/blobs" / blob.digest[:2] / blob.digest).read_bytes() == b"one more"
    dumps = sorted(path.name for path in (folder / "database").iterdir())
    assert dumps == [f"2026-01-01T0{hour}0000Z.jsonl.gz" for hour in (1, 2, 3)]


def test_a_result_that_was_written_again_is_copied_again(system: System, finished: Told, folder: Path) -> None:
    system.backup(folder)
    step = next(iter(finished.plan.evaluations.values()))
    system.services.artifacts.let_go(step)
    assert system.backup(folder).copied == 1


def test_what_was_collected_stays_in_the_backup_until_it_is_pruned(
    system: System, finished: Told, folder: Path
) -> None:
    blob = system.services.artifacts.put_blob(b"not needed")
    system.backup(folder)
    path = folder / "objects/blobs" / blob.digest[:2] / blob.digest
    system.objects.remove(f"blobs/{blob.digest[:2]}/{blob.digest}")
    assert (system.backup(folder).pruned, path.exists()) == (0, True)
    assert (system.backup(folder, prune=True).pruned, path.exists()) == (1, False)


def test_savepoints_are_not_copied(system: System, finished: Told, folder: Path) -> None:
    system.objects.put(savepoint_key("ab" * 32, "state"), b"how far it is")
    system.backup(folder)
    assert not (folder / "objects/savepoints").exists()


class Killed(BaseException):
    pass


def killed_after(system: System, verb: str, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies at a verb of the object store."""
    left, real = [calls], getattr(system.objects, verb)

    def call(*arguments: object) -> object:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return real(*arguments)

    monkeypatch.setattr(system.objects, verb, call)


@pytest.mark.parametrize("calls", [0, 1, 30])
def test_a_backup_that_is_killed_is_completed_by_the_next_one(
    system: System, finished: Told, folder: Path, new_system: NewSystem, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        killed_after(system, "get", calls, patched)
        with pytest.raises(Killed):
            system.backup(folder)
    assert system.backup(folder).there == calls
    other = new_system("second")
    other.restore(folder)
    assert (other.rows(), other.stored()) == (system.rows(), system.stored())


@pytest.mark.parametrize("calls", [0, 1, 30])
def test_a_restore_that_is_killed_is_completed_by_the_next_one(
    system: System, finished: Told, folder: Path, new_system: NewSystem, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.backup(folder)
    other = new_system("second")
    with monkeypatch.context() as patched:
        killed_after(other, "put", calls, patched)
        with pytest.raises(Killed):
            other.restore(folder)
    assert other.get("/v1/experiments") == new_system("empty").get("/v1/experiments")
    assert other.restore(folder).there == calls
    assert (other.rows(), other.stored()) == (system.rows(), system.stored())


def test_experiments_are_lost_only_when_that_is_said(
    system: System, finished: Told, folder: Path, new_system: NewSystem
) -> None:
    system.backup(folder)
    other = new_system("second")
    post_experiment(other.services, spec(name="another", seeds=(7,)))
    before, objects = other.rows(), other.stored()
    with pytest.raises(HoldsExperiments, match="holds 1 experiments"):
        other.restore(folder)
    assert (other.rows(), other.stored()) == (before, objects)
    other.restore(folder, replace=True)
    assert other.rows() == system.rows()


def test_a_copy_of_the_database_that_is_cut_off_replaces_nothing(
    system: System, finished: Told, folder: Path, new_system: NewSystem
) -> None:
    system.backup(folder)
    dump = BackupFolder(folder).newest_dump()
    whole = gzip.decompress(dump.read_bytes()).splitlines(keepends=True)
    other = new_system("second")
    post_experiment(other.services, spec(name="another", seeds=(7,)))
    before = other.rows()
    for damaged in (gzip.compress(b"".join(whole[:-1])), dump.read_bytes()[:-100], gzip.compress(b"no JSON"), b""):
        dump.write_bytes(damaged)
        with pytest.raises(UnusableDump):
            other.restore(folder, replace=True)
        assert other.rows() == before


def test_a_copy_of_a_later_release_is_refused(system: System, finished: Told, folder: Path) -> None:
    system.backup(folder)
    BackupFolder(folder).newest_dump().write_bytes(gzip.compress(b'{"revision": "9999"}\n{"rows": 0}\n'))
    with pytest.raises(UnusableDump, match="'9999'"):
        system.restore(folder, replace=True)
    assert is_current(system.services.store)


def test_blobs_with_other_bytes_are_neither_copied_nor_restored(
    system: System, finished: Told, folder: Path, new_system: NewSystem
) -> None:
    keys = [key for key in system.stored() if key.startswith("blobs/")]
    system.objects.put(keys[0], b"other bytes")
    assert system.backup(folder).damaged == keys[:1]
    path = folder / "objects" / keys[1]
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    other = new_system("second")
    assert other.restore(folder).damaged == keys[1:2]
    assert not {*keys[:2]} & set(other.stored())


def test_a_folder_without_a_backup_is_named(system: System, folder: Path) -> None:
    with pytest.raises(NoBackup, match=str(folder)):
        system.restore(folder)


LATER_TABLES = {"projects", "audit", "experiment_facets", "descriptions"}


def test_a_copy_of_an_earlier_release_is_migrated(
    system: System, finished: Told, folder: Path, new_system: NewSystem
) -> None:
    """Of the one before experiments had registrations, and anything belonged to a project."""
    system.backup(folder)
    dump = BackupFolder(folder).newest_dump()
    lines = [json.loads(line) for line in gzip.decompress(dump.read_bytes()).splitlines()]
    rows = [line for line in lines if "row" in line and line["table"] not in LATER_TABLES]
    for line in rows:
        for later in ("registration", "project_id", "shared", "archived_at", "headline"):
            line["row"].pop(later, None)
    document = [{"revision": "0004"}, *rows, {"rows": len(rows)}]
    dump.write_bytes(gzip.compress("\n".join(map(json.dumps, document)).encode()))
    other = new_system("second")
    other.restore(folder)
    assert is_current(other.services.store)
    path = f"/v1/experiments/{finished.id}"
    assert b"no_registration" in other.get(f"{path}/registration")
    assert other.get(f"{path}/results") == system.get(f"{path}/results")
