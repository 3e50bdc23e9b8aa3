"""What the conductor tells Prometheus: how long steps wait, and which leases ran out and why."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.memory_services import MemoryReports, empty_manifest, memory_services
from support.specs import resolved
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.messages import LiveWorker, StepMessage, StepStarted, StepSucceeded
from touchstone_contracts.steps import CATALOGUE
from touchstone_planning.plan import plan_experiment
from touchstone_runtime.presence import MemoryPresence
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_store.live_workers import live_workers
from touchstone_store.plans import Survey, create_plan

PLAN = plan_experiment(resolved(targets=("fine",), sizes=(6,), seeds=(0,)))


class Bench:
    """A conductor with a clock in hand; its leases last 30 seconds."""

    def __init__(self, folder: Path) -> None:
        services = memory_services(folder)
        self.store, self.artifacts = services.store, services.artifacts
        self.reports, self.broker = MemoryReports(), MemoryDispatcher()
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.conductor = Conductor(
            store=self.store,
            artifacts=self.artifacts,
            reports=self.reports,
            dispatcher=self.broker,
            presence=MemoryPresence(time.monotonic),
            now=lambda: self.time,
        )
        with self.store.write() as session:
            create_plan(session, "exp_a", PLAN.steps, Survey(), self.time)

    def cycle(self, seconds: float = 0) -> None:
        self.time += timedelta(seconds=seconds)
        assert self.conductor.cycle(0)

    def start(self) -> StepMessage:
        message = self.broker.take()
        self.reports.waiting.append(StepStarted(step_id=message.step_id, attempt=message.attempt, worker="w"))
        return message

    def value(self, name: str, **labels: str) -> float | None:
        return self.conductor.metrics.registry.get_sample_value(name, labels)

    def expiries(self, reason: str) -> float:
        found = [
            self.value("touchstone_lease_expiries_total", queue=queue, reason=reason)
            for queue in ("retrieval", "generator", "trainer")
        ]
        return sum(value for value in found if value is not None)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_number_of_live_workers_is_noted_for_the_api_when_it_changes_and_each_minute(bench: Bench) -> None:
    presence = bench.conductor.presence
    assert isinstance(presence, MemoryPresence)

    def noted() -> dict[str, int] | None:
        with bench.store.read() as session:
            return live_workers(session, bench.time)

    bench.cycle()
    assert noted() == {"retrieval": 0, "generator": 0, "trainer": 0, "judge": 0}
    for name in ("a", "b"):
        presence.announce(LiveWorker(name=name, queue="trainer", channels=()), 1000)
    bench.cycle(1)
    assert noted() == {"retrieval": 0, "generator": 0, "trainer": 2, "judge": 0}
    for _ in range(5):
        bench.cycle(60)
        assert noted() == {"retrieval": 0, "generator": 0, "trainer": 2, "judge": 0}
    bench.time += timedelta(minutes=5)
    assert noted() is None


def test_the_time_in_the_queue_is_from_hand_out_to_start_once_per_attempt(bench: Bench) -> None:
    bench.cycle()
    message = bench.start()
    bench.cycle(7)
    bench.reports.waiting.append(StepStarted(step_id=message.step_id, attempt=message.attempt, worker="w"))
    bench.cycle(3)
    labels = {"kind": message.kind, "phase": "queue"}
    assert bench.value("touchstone_step_phase_seconds_count", **labels) == 1
    assert bench.value("touchstone_step_phase_seconds_sum", **labels) == 7


def test_a_step_that_was_found_never_waited_for_its_start(bench: Bench) -> None:
    bench.cycle()
    message = bench.broker.take()
    bench.artifacts.write_manifest(empty_manifest(message.step_id, message.kind))
    bench.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=1, found=True))
    bench.cycle(5)
    assert bench.value("touchstone_step_phase_seconds_count", kind=message.kind, phase="queue") is None


def test_a_worker_that_goes_silent_is_an_expiry_of_its_queue(bench: Bench) -> None:
    bench.cycle()
    message = bench.start()
    bench.cycle(1)
    assert bench.expiries("silent_worker") == 0
    bench.cycle(31)
    queue = CATALOGUE[message.kind].queue
    assert bench.value("touchstone_lease_expiries_total", queue=queue, reason="silent_worker") == 1
    assert (bench.expiries("silent_worker"), bench.expiries("lost_message"), bench.expiries("lost_report")) == (1, 0, 0)


def test_messages_that_wait_for_busy_workers_are_no_expiries(bench: Bench) -> None:
    bench.cycle()
    sent = len(bench.broker.sent)
    bench.cycle(31)
    assert sent >= 2
    assert bench.expiries("lost_message") == 0
    bench.broker.lose()
    bench.cycle(31)
    bench.cycle(5)
    assert bench.expiries("lost_message") == sent


def test_a_result_without_its_report_is_an_expiry_of_another_kind(bench: Bench) -> None:
    bench.cycle()
    message = bench.start()
    bench.cycle(1)
    bench.artifacts.write_manifest(empty_manifest(message.step_id, message.kind))
    bench.cycle(31)
    assert (bench.expiries("lost_report"), bench.expiries("silent_worker")) == (1, 0)


def test_the_age_of_a_queue_is_that_of_the_step_that_has_waited_longest(bench: Bench) -> None:
    bench.conductor.metrics.refresh(bench.store, bench.time + timedelta(seconds=20), live_workers={})
    assert bench.value("touchstone_queue_age_seconds", queue="retrieval") == 20
    assert bench.value("touchstone_queue_age_seconds", queue="trainer") == 0, "its inputs are not there yet"


def test_every_queue_and_reason_begins_at_zero(bench: Bench) -> None:
    for queue in ("retrieval", "generator", "trainer"):
        for reason in ("silent_worker", "lost_message", "lost_report"):
            assert bench.value("touchstone_lease_expiries_total", queue=queue, reason=reason) == 0
