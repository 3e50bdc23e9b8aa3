"""Steps of contracts that this release does not serve, on both databases: who does them, and when they are given up."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.live_workers import live_worker
from support.many_steps import independent_steps
from support.memory_services import MemoryReports, empty_manifest
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.messages import StepMessage, StepStarted, StepSucceeded
from touchstone_contracts.steps import WRITE_PROMPTS, AnyContract
from touchstone_planning.state import Step
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.presence import MemoryPresence
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_store.database import Store, open_store
from touchstone_store.events import events_after
from touchstone_store.migrate import migrate
from touchstone_store.plans import Survey, create_plan, retry_plan
from touchstone_store.steps import owned_steps

RETIRED = replace(WRITE_PROMPTS, version=0, names_facts=False)
LATER = replace(WRITE_PROMPTS, version=9)
UNKNOWN = replace(WRITE_PROMPTS, name="paint_mural", queue="painter")
LEASE, ROLLOUT = 30, 600
FAILED, WAITING = ("failed", 0, "contract_retired"), ("waiting", 0, None)


@dataclass
class Bench:
    """A conductor with a clock in hand, and plans of a few steps of one contract each."""

    store: Store
    artifacts: Artifacts = field(default_factory=lambda: Artifacts(MemoryObjects()))
    reports: MemoryReports = field(default_factory=MemoryReports)
    broker: MemoryDispatcher = field(default_factory=MemoryDispatcher)
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.presence = MemoryPresence(lambda: self.time.timestamp())
        self.conductor = Conductor(
            self.store, self.artifacts, self.reports, self.broker, self.presence, now=lambda: self.time
        )

    def plan(self, name: str, contract: AnyContract, count: int = 3) -> None:
        with self.store.write() as session:
            create_plan(session, name, independent_steps(count, name, contract), Survey(), self.time)

    def cycle_for(self, seconds: int, every: int = 1) -> None:
        for _ in range(0, seconds, every):
            self.time += timedelta(seconds=every)
            assert self.conductor.cycle(0)

    def announce(self, contract: AnyContract, seconds: int = 100_000) -> None:
        self.presence.announce(live_worker(contract.queue, "theirs", (contract.channel,)), seconds)

    def withdraw(self, contract: AnyContract) -> None:
        self.presence.withdraw(live_worker(contract.queue, "theirs", (contract.channel,)))

    def start(self) -> StepMessage:
        message = self.broker.take()
        self.reports.waiting.append(StepStarted(step_id=message.step_id, attempt=message.attempt, worker="theirs"))
        return message

    def finish(self, message: StepMessage) -> None:
        self.artifacts.write_manifest(empty_manifest(message.step_id, message.kind))
        self.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=message.attempt))

    def work_all(self) -> None:
        self.cycle_for(1)
        while self.broker.waiting_anywhere():
            self.finish(self.broker.take())
            self.cycle_for(1)

    def steps(self, name: str) -> list[Step]:
        with self.store.read() as session:
            return [owned.step for owned in owned_steps(session, name)]

    def outcomes(self, name: str) -> list[tuple[str, int, str | None]]:
        """State, attempt and the problem's code of each step of a plan."""
        return [(step.state, step.attempt, step.problem.code if step.problem else None) for step in self.steps(name)]

    def phases(self, name: str) -> list[str]:
        with self.store.read() as session:
            return [event.data["phase"] for event in events_after(session, name, 0) if "phase" in event.data]


@pytest.fixture(params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    url = f"sqlite:///{tmp_path / 'test.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_store(url)
    migrate(store)
    yield Bench(store)
    store.close()


def test_steps_that_nobody_serves_fail_their_experiment_after_a_while_and_no_other(bench: Bench) -> None:
    bench.plan("exp_old", RETIRED)
    bench.plan("exp_new", WRITE_PROMPTS)
    bench.cycle_for(LEASE)
    assert bench.outcomes("exp_old") == [WAITING] * 3
    assert {message.version for message in bench.broker.sent} == {WRITE_PROMPTS.version}
    bench.cycle_for(10)
    assert sorted(bench.outcomes("exp_old"), key=str) == [FAILED, WAITING, WAITING], "the others are wanted no more"
    assert bench.phases("exp_old") == ["queued", "failed"]
    assert not {state for state, _, _ in bench.outcomes("exp_new")} & {"failed"}
    with bench.store.read() as session:
        told = [event.data for event in events_after(session, "exp_old", 0) if event.event == "step.failed"]
    assert len(told) == 1
    assert all(data["final"] and "Start a worker" in data["problem"]["detail"] for data in told)


@pytest.mark.parametrize("contract", [RETIRED, LATER, UNKNOWN], ids=["retired", "later", "unknown"])
def test_a_live_worker_of_another_release_does_what_this_one_does_not_know(bench: Bench, contract: AnyContract) -> None:
    bench.plan("exp", contract, count=5)
    bench.announce(contract)
    bench.work_all()
    assert bench.outcomes("exp") == [("succeeded", 1, None)] * 5
    assert bench.phases("exp")[-1] == "succeeded"


@pytest.mark.parametrize("contract", [LATER, UNKNOWN], ids=["later", "unknown"])
def test_what_a_later_release_planned_waits_for_its_rollout_and_then_fails(bench: Bench, contract: AnyContract) -> None:
    bench.plan("exp", contract)
    bench.cycle_for(ROLLOUT, every=20)
    assert bench.outcomes("exp") == [WAITING] * 3
    bench.cycle_for(40, every=20)
    assert bench.outcomes("exp").count(FAILED) == 1
    assert bench.phases("exp")[-1] == "failed"


def test_a_worker_that_is_replaced_in_time_costs_nothing(bench: Bench) -> None:
    bench.plan("exp", RETIRED)
    bench.announce(RETIRED)
    bench.cycle_for(10)
    bench.withdraw(RETIRED)
    bench.cycle_for(LEASE - 5)
    bench.announce(RETIRED)
    bench.work_all()
    assert bench.outcomes("exp") == [("succeeded", 1, None)] * 3


def test_when_the_last_worker_leaves_messages_that_wait_for_it_are_given_up_too(bench: Bench) -> None:
    bench.plan("exp", RETIRED)
    bench.announce(RETIRED)
    bench.cycle_for(10)
    assert bench.broker.waiting(RETIRED.channel) == 2
    bench.withdraw(RETIRED)
    bench.cycle_for(LEASE + 10)
    outcomes = bench.outcomes("exp")
    assert sorted(state for state, _, _ in outcomes) == ["failed", "waiting", "waiting"], "none is leased any more"
    assert sorted(attempt for _, attempt, _ in outcomes) == [0, 1, 1]
    assert [code for state, _, code in outcomes if state == "failed"] == ["contract_retired"]


def test_a_step_that_somebody_has_started_is_not_taken_from_them(bench: Bench) -> None:
    bench.plan("exp", RETIRED, count=1)
    bench.announce(RETIRED)
    bench.cycle_for(1)
    started = bench.start()
    bench.conductor.limits = replace(bench.conductor.limits, lease=timedelta(hours=1))
    bench.cycle_for(1)
    bench.withdraw(RETIRED)
    bench.cycle_for(2 * LEASE)
    assert bench.outcomes("exp") == [("leased", 1, None)]
    bench.finish(started)
    bench.cycle_for(1)
    assert bench.outcomes("exp") == [("succeeded", 1, None)]


def test_a_retry_beside_a_worker_that_serves_it_goes_on(bench: Bench) -> None:
    bench.plan("exp", RETIRED)
    bench.cycle_for(LEASE + 10)
    assert bench.phases("exp")[-1] == "failed"
    bench.announce(RETIRED)
    with bench.store.write() as session:
        retry_plan(session, "exp", bench.time)
    bench.work_all()
    assert bench.outcomes("exp") == [("succeeded", 1, None)] * 3
    assert bench.phases("exp")[-1] == "succeeded"


def test_a_step_that_two_experiments_share_fails_both(bench: Bench) -> None:
    for name in ("exp_a", "exp_b"):
        with bench.store.write() as session:
            create_plan(session, name, independent_steps(3, "shared", RETIRED), Survey(), bench.time)
    bench.cycle_for(LEASE + 10)
    assert [bench.phases(name)[-1] for name in ("exp_a", "exp_b")] == ["failed"] * 2
    assert bench.outcomes("exp_a") == bench.outcomes("exp_b")


def test_metrics_tell_of_steps_whose_kind_and_queue_this_release_does_not_know(bench: Bench) -> None:
    bench.plan("exp", UNKNOWN)
    bench.announce(UNKNOWN)
    bench.cycle_for(1)
    bench.start()
    bench.cycle_for(1)
    metrics = bench.conductor.metrics

    def steps(state: str) -> float | None:
        assert metrics.refresh(bench.store, bench.time, bench.conductor.live_workers)
        return metrics.registry.get_sample_value("touchstone_queue_steps", {"queue": "painter", "state": state})

    assert (steps("queued"), steps("leased")) == (1, 2)
    assert metrics.registry.get_sample_value("touchstone_live_workers", {"queue": "painter"}) == 1
    bench.cycle_for(LEASE + 1)
    expiries = {"queue": "painter", "reason": "silent_worker"}
    assert metrics.registry.get_sample_value("touchstone_lease_expiries_total", expiries) == 1
    bench.work_all()
    bench.cycle_for(5)
    bench.work_all()
    assert (steps("queued"), steps("leased")) == (0, 0), "and it does not stay at its last value"
