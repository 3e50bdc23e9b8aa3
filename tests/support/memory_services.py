"""The api's services without servers: SQLite in a folder, objects and reports in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from fastapi.testclient import TestClient
from pydantic import BaseModel, SecretStr
from support.leaks import looked_through
from support.specs import DictLookup
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_api.settings import ApiSettings
from touchstone_contracts.messages import StepFailed, StepManifest, StepMessage, StepReport, StepStarted
from touchstone_contracts.problems import Problem, Transient
from touchstone_planning import transitions
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_store.database import Store, open_store
from touchstone_store.migrate import migrate
from touchstone_store.plans import StepChange, save_steps
from touchstone_store.steps import find_rows, owned_steps, to_step

OPERATOR_KEY = "ts_operator-of-the-tests-0001"
"""Of every api that tests start in their own process."""
WEBHOOK_KEY = "webhook-key-of-the-tests-0001"
AS_OPERATOR = {"Authorization": f"Bearer {OPERATOR_KEY}"}


def api_client(services: Services, **options: Any) -> TestClient:
    """An api that is asked as its operator would."""
    client = TestClient(create_app(services), headers=AS_OPERATOR, base_url="http://localhost", **options)
    client.event_hooks = looked_through([OPERATOR_KEY])
    return client


def memory_services(folder: Path, artifacts: Artifacts | None = None) -> Services:
    """Needs no socket. `api_client(memory_services(tmp_path))` is an api to talk to."""
    url = f"sqlite:///{folder / 'touchstone.db'}"
    return Services(
        store=migrated_store(folder / "touchstone.db"),
        artifacts=artifacts or Artifacts(MemoryObjects()),
        settings=ApiSettings(
            database_url=SecretStr(url),
            operator_key=SecretStr(OPERATOR_KEY),
            webhook_key=SecretStr(WEBHOOK_KEY),
            allowed_buckets=("laion",),
            allowed_hub=("*",),
            allowed_hosts=("*",),
            search_patience_seconds=0,
        ),
    )


def migrated_store(database: Path) -> Store:
    """Of a file of SQLite: one that is there is brought to the newest schema."""
    if not database.exists():
        database.write_bytes(migrated_database())
        return open_store(f"sqlite:///{database}")
    store = open_store(f"sqlite:///{database}")
    migrate(store)
    return store


@cache
def migrated_database() -> bytes:
    """An empty one of SQLite: copying it takes a hundredth of the time that migrations take."""
    with TemporaryDirectory() as folder:
        database = Path(folder) / "touchstone.db"
        store = open_store(f"sqlite:///{database}")
        migrate(store)
        store.close()
        return database.read_bytes()


def on_postgres(services: Services, url: str) -> Services:
    """The same on an empty database of Postgres."""
    services.store.close()
    store = open_store(url)
    migrate(store)
    settings = services.settings.model_copy(update={"database_url": SecretStr(url)})
    return replace(services, store=store, settings=settings)


class Broker(MemoryDispatcher):
    """A MemoryDispatcher that can be taken away."""

    away = False

    def send(self, message: StepMessage) -> None:
        if self.away:
            raise Transient("broker unreachable", code="redis")
        super().send(message)


@dataclass
class MemoryReports:
    """What runtime.reports.ReportLine is to the conductor."""

    waiting: list[StepReport] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)

    def receive(self, timeout: float) -> list[StepReport]:
        received, self.waiting = self.waiting, []
        return received

    def mark_cancelled(self, step: str) -> None:
        self.cancelled.add(step)

    def note_attempt(self, step: str, attempt: int) -> None:
        self.cancelled.discard(step)


_BLOB = {"digest": "0" * 64, "size": 0}
_IMAGES = {"manifest": _BLOB, "shards": [], "count": 0}
EMPTY_RESULTS: dict[str, dict[str, Any]] = {
    "ingest_images": {"images": _IMAGES},
    "embed_images": {"count": 0, "dimension": 1, "image_embeddings": _BLOB},
    "take_embeddings": {"count": 0, "dimension": 1, "image_embeddings": _BLOB, "compared": []},
    "retrieve_images": {"images": _IMAGES, "requested": 0},
    "generate_images": {"images": _IMAGES, "requested": 0},
    "perturb_images": {"images": _IMAGES, "requested": 0},
    "write_prompts": {"prompts": _BLOB, "count": 0},
    "write_captions": {"prompts": _BLOB, "count": 0},
    "collect_captions": {"prompts": _BLOB, "count": 0},
    "search_upstream": {"hits": [], "images": 0},
}
"""Of the kinds whose results pages read of every finished step."""


def empty_manifest(step: str, kind: str) -> StepManifest:
    result = EMPTY_RESULTS.get(kind, {})
    return StepManifest(
        step_id=step, kind=kind, version=1, result=result, blobs=(), seconds=1.0, cpu_seconds=0.5, worker="test"
    )


def finish_steps(
    services: Services, experiment: str, stored: Mapping[str, StepManifest] = MappingProxyType({})
) -> None:
    """Every step succeeds with what is stored of it, or else an empty result, as if workers and conductor had done
    their part."""
    now = datetime.now(UTC)
    with services.store.write() as session:
        rows = find_rows(session, [owned.step.id for owned in owned_steps(session, experiment)], lock=True)
        manifests = {step: stored.get(step) or empty_manifest(step, row.kind) for step, row in rows.items()}
        for step in manifests.keys() - stored.keys():
            services.artifacts.write_manifest(manifests[step])
        changes = [StepChange(row, transitions.succeed(to_step(row), now, manifests[row.id])) for row in rows.values()]
        save_steps(session, changes, now)


OUT_OF_DISK = Problem(title="Bug", status=500, code="bug", detail="no space left on device")


def fail_step(services: Services, step: str) -> None:
    """A worker named `w1` took the step and failed for good."""
    now, limits = datetime.now(UTC), transitions.Limits()
    with services.store.write() as session:
        row = find_rows(session, [step], lock=True)[step]
        leased = transitions.lease(to_step(row), now, limits)
        names = {"step_id": step, "attempt": leased.attempt}
        started = transitions.apply_report(leased, StepStarted(**names, worker="w1"), now, limits)
        report = StepFailed(**names, problem=OUT_OF_DISK, retryable=False, log_tail="writing shard 3\nOSError: 28")
        save_steps(session, [StepChange(row, transitions.apply_report(started, report, now, limits))], now)


def register_everything(client: TestClient) -> None:
    """What `support.specs.spec` names."""
    lookup = DictLookup()
    entries: list[tuple[str, BaseModel]] = [("encoders", entry) for entry in lookup.encoders.values()]
    entries += [("generators", entry) for entry in lookup.generators.values()]
    entries += [("targets", entry) for entry in lookup.targets.values()]
    entries += [("datasets", entry) for entry in lookup.datasets.values()]
    entries += [("upstreams", entry) for entry in lookup.upstreams.values()]
    for plural, entry in entries:
        assert client.post(f"/v1/{plural}", json=entry.model_dump(mode="json")).status_code == 201
