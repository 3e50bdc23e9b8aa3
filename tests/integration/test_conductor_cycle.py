"""The conductor on both databases, with a broker in memory, and on a real Valkey and S3 with a real worker loop."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from support.live_workers import live_worker
from support.many_steps import CHANNEL, QUEUE, independent_steps
from support.memory_services import Broker, MemoryReports, empty_manifest, memory_services
from support.specs import resolved
from touchstone_conductor.conductor import Conductor
from touchstone_conductor.metrics import ConductorMetrics
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.messages import (
    HostMemory,
    StepFailed,
    StepMessage,
    StepProgressed,
    StepStarted,
    StepSucceeded,
)
from touchstone_contracts.problems import Problem, Transient
from touchstone_contracts.steps import CATALOGUE, EMBED_IMAGES, INGEST_IMAGES, QUEUES, served_by
from touchstone_contracts.views import StepCounts, StoredBytes
from touchstone_planning import transitions
from touchstone_planning.plan import plan_experiment
from touchstone_planning.state import Step
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects, MissingObject
from touchstone_runtime.presence import MemoryPresence, connect_presence
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.reports import connect_reports
from touchstone_store.database import Store, open_store
from touchstone_store.events import events_after
from touchstone_store.experiments import plan_states
from touchstone_store.migrate import migrate
from touchstone_store.plans import StepChange, Survey, cancel_plan, create_plan, save_steps
from touchstone_store.steps import find_rows, outages_of, owned_steps, progress_of, to_step
from touchstone_store.stored_bytes import bytes_by_plan, bytes_of_all, bytes_of_plan, note_blobs

PLAN = plan_experiment(resolved(targets=("fine",), sizes=(6,), seeds=(0,)))
NAME = "exp_a"


@dataclass
class Bench:
    """A conductor with a clock in hand and servers that can be taken away."""

    store: Store
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    reports: MemoryReports = field(default_factory=MemoryReports)
    broker: Broker = field(default_factory=Broker)
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.artifacts = Artifacts(self.objects)
        self.presence = MemoryPresence(lambda: self.time.timestamp())
        self.conductor = self.another_conductor()
        with self.store.write() as session:
            create_plan(session, NAME, PLAN.steps, Survey(), self.time)

    def another_conductor(self) -> Conductor:
        return Conductor(
            store=self.store,
            artifacts=self.artifacts,
            reports=self.reports,
            dispatcher=self.broker,
            presence=self.presence,
            now=lambda: self.time,
        )

    def cycle(self, seconds: float = 0) -> bool:
        self.time += timedelta(seconds=seconds)
        return self.conductor.cycle(0)

    def compute(self, message: StepMessage) -> None:
        self.artifacts.write_manifest(empty_manifest(message.step_id, message.kind))

    def work(self) -> StepMessage:
        """A healthy worker takes one message and finishes it."""
        message = self.broker.take()
        self.compute(message)
        self.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=message.attempt))
        return message

    def work_all(self) -> None:
        for _ in range(3 * len(PLAN.steps)):
            self.cycle(1)
            while self.broker.waiting_anywhere():
                self.work()
            if self.phases()[-1] == "succeeded":
                return
        self.cycle(1)

    def counts(self) -> StepCounts:
        with self.store.read() as session:
            return plan_states(session, [NAME])[NAME].counts

    def step(self, step: str) -> Step:
        with self.store.read() as session:
            return to_step(find_rows(session, [step])[step])

    def outages(self) -> tuple[Problem, ...]:
        with self.store.read() as session:
            return outages_of(session, [NAME]).get(NAME, ())

    def told(self) -> list[str]:
        with self.store.read() as session:
            return [event.event for event in events_after(session, NAME, 0)]

    def phases(self) -> list[str]:
        with self.store.read() as session:
            events = events_after(session, NAME, 0)
        return [event.data["phase"] for event in events if event.event == "experiment.phase"]


@pytest.fixture(params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "sqlite":
        store = open_store(f"sqlite:///{tmp_path / 'test.db'}")
    else:
        store = open_store(request.getfixturevalue("postgres_url"))
    migrate(store)
    yield Bench(store)
    store.close()


def test_an_experiment_runs_to_its_end_in_topological_order(bench: Bench) -> None:
    bench.work_all()
    assert bench.counts() == StepCounts(total=len(PLAN.steps), succeeded=len(PLAN.steps))
    assert bench.phases() == ["queued", "running", "succeeded"]
    assert bench.told().count("step.succeeded") == len(PLAN.steps) > 15
    sent = [message.step_id for message in bench.broker.sent]
    assert len(sent) == len(set(sent)) == len(PLAN.steps)
    for step in PLAN.steps:
        assert all(sent.index(needed) < sent.index(step.id) for needed in step.inputs)
    with bench.store.read() as session:
        steps = [owned.step for owned in owned_steps(session, NAME)]
    assert {(step.seconds, step.cpu_seconds, step.gpu_seconds) for step in steps} == {(1.0, 0.5, 0.0)}


def test_the_history_of_an_experiment_is_compacted_a_minute_after_its_end(bench: Bench) -> None:
    bench.work_all()
    assert bench.cycle(59)
    assert "step.succeeded" in bench.told()
    assert bench.cycle(1)
    assert bench.told() == ["experiment.phase"] * 3
    assert bench.phases() == ["queued", "running", "succeeded"]


def test_progress_is_in_the_row_of_its_step_and_in_no_history(bench: Bench) -> None:
    bench.cycle()
    message = bench.broker.take()
    told = bench.told()
    bench.reports.waiting.append(StepStarted(step_id=message.step_id, attempt=1, worker="w"))
    for done in (1, 2):
        bench.reports.waiting.append(StepProgressed(step_id=message.step_id, attempt=1, done=done, total=9))
        bench.cycle(3)
    with bench.store.read() as session:
        [found] = [each for each in progress_of(session, NAME) if each.done]
    assert (found.step, found.attempt, found.done, found.total) == (message.step_id, 1, 2, 9)
    assert bench.told() == [*told, "step.started"]


def test_few_steps_are_handed_out_at_once(bench: Bench) -> None:
    bench.cycle()
    assert bench.counts().leased == 2 + 1  # two of retrieval's, and the prompts
    bench.cycle()
    assert bench.counts().leased == 3


def test_six_workers_of_a_kind_have_a_step_each_and_a_next_one(bench: Bench) -> None:
    with bench.store.write() as session:
        create_plan(session, "exp_many", independent_steps(30), Survey(), bench.time)
    for number in range(6):
        bench.presence.announce(live_worker(QUEUE, f"w{number}"), 15)
    bench.cycle()
    assert bench.conductor.live_workers == dict.fromkeys(QUEUES, 0) | {"generator": 6}
    assert (bench.broker.waiting(INGEST_IMAGES.channel), bench.broker.waiting(CHANNEL)) == (2, 12)
    assert bench.broker.waiting_anywhere() == 14


def test_workers_that_die_get_no_share_and_the_first_lease_needs_none(bench: Bench) -> None:
    assert bench.conductor.leases_per_worker == 2
    for number in range(6):
        bench.presence.announce(live_worker("retrieval", f"w{number}"), 15)
    bench.cycle(15)
    assert bench.conductor.live_workers["retrieval"] == 0
    assert bench.broker.waiting(INGEST_IMAGES.channel) == 2
    bench.presence.announce(live_worker("retrieval", "w6"), 15)
    bench.cycle(1)
    assert bench.broker.waiting(INGEST_IMAGES.channel) == 2, "two leases are the share of one worker"


def test_while_nobody_can_be_counted_nothing_is_handed_out_and_the_last_count_stays(bench: Bench) -> None:
    for number in range(6):
        bench.presence.announce(live_worker("retrieval", f"w{number}"), 15)
    bench.presence.away = True
    assert bench.cycle() is False
    assert bench.counts().leased == 0
    bench.presence.away = False
    assert bench.cycle(1)
    bench.presence.away = True
    assert bench.cycle(60) is False
    assert bench.conductor.live_workers["retrieval"] == 6
    metrics = ConductorMetrics()
    assert metrics.refresh(bench.store, bench.time, bench.conductor.live_workers)
    assert metrics.registry.get_sample_value("touchstone_live_workers", {"queue": "retrieval"}) == 6
    assert metrics.registry.get_sample_value("touchstone_live_workers", {"queue": "trainer"}) == 0


def test_a_lost_report_costs_a_lease_never_the_result(bench: Bench) -> None:
    bench.cycle()
    message = bench.work()
    bench.reports.waiting.clear()
    bench.cycle(29)
    assert bench.counts().succeeded == 0
    bench.cycle(2)
    assert bench.counts().succeeded == 1
    bench.work_all()
    assert [m.step_id for m in bench.broker.sent].count(message.step_id) == 1
    assert bench.phases()[-1] == "succeeded"


def test_a_flushed_broker_gets_its_messages_again(bench: Bench) -> None:
    bench.cycle()
    bench.broker.lose()
    bench.cycle(31)
    assert bench.broker.waiting_anywhere() == 0, "workers may have taken them a moment ago"
    bench.cycle(5)
    assert bench.broker.waiting_anywhere() == 3
    bench.work_all()
    assert bench.phases()[-1] == "succeeded"
    with bench.store.read() as session:
        assert {owned.step.failures for owned in owned_steps(session, NAME)} == {0}


def test_a_message_that_a_worker_has_just_taken_when_other_leases_run_out_is_not_sent_twice(bench: Bench) -> None:
    bench.conductor.leases_per_worker = 4
    bench.cycle()
    assert bench.broker.waiting_anywhere() == 5
    while bench.broker.waiting_anywhere():
        taken = bench.broker.take()
        bench.cycle(31)  # every lease that has not started runs out in this very moment
        bench.compute(taken)
        bench.reports.waiting.append(StepSucceeded(step_id=taken.step_id, attempt=taken.attempt))
        bench.cycle(0.5)
    assert bench.counts().succeeded == len(PLAN.steps)
    assert len(bench.broker.sent) == len(PLAN.steps)


def test_messages_that_wait_behind_a_long_step_are_not_sent_twice(bench: Bench) -> None:
    bench.cycle()
    for _ in range(20):
        bench.cycle(31)
    assert len(bench.broker.sent) == 3


def test_a_worker_that_dies_each_time_fails_the_experiment_after_three(bench: Bench) -> None:
    bench.conductor.leases_per_worker = 100
    bench.cycle()
    victim = bench.broker.take()
    for attempt in range(3):
        message = [m for m in bench.broker.sent if m.step_id == victim.step_id][-1]
        bench.reports.waiting.append(StepStarted(step_id=message.step_id, attempt=message.attempt, worker="w"))
        bench.cycle(1)
        assert bench.counts().failed == 0, attempt
        bench.cycle(31)
        bench.cycle(20)
    assert bench.counts().failed == 1
    assert bench.phases()[-1] == "failed"
    with bench.store.read() as session:
        failed = next(owned.step for owned in owned_steps(session, NAME) if owned.step.state == "failed")
    assert failed.problem is not None
    assert (failed.failures, failed.problem.code) == (3, "lease_expired")
    # The experiment is over: what was handed out for it comes back, and nothing more is handed out.
    bench.cycle(1)
    assert bench.counts().leased == 0


def test_a_target_that_cannot_be_a_fair_test_ends_its_experiment_before_anything_is_trained(bench: Bench) -> None:
    [check] = PLAN.checks.values()
    message = next_message(bench, check, work=True)
    detail = "the test split has no image of 'thing 1' (1): add images of them, or leave the classes out"
    problem = Problem(title="Class without images", status=422, code="class_without_images", detail=detail)
    start = StepStarted(step_id=check, attempt=message.attempt, worker="judge")
    end = StepFailed(step_id=check, attempt=message.attempt, problem=problem, retryable=False)
    bench.reports.waiting += [start, end]
    bench.cycle(1)
    assert bench.phases()[-1] == "failed"
    failed = bench.step(check)
    assert (failed.failures, failed.problem and failed.problem.code) == (1, "class_without_images")
    # What was handed out for it comes back, and nothing more is handed out however long one waits.
    sent = len(bench.broker.sent)
    for _ in range(5):
        bench.cycle(60)
    assert len(bench.broker.sent) == sent
    assert bench.counts().leased == 0
    kinds = {message.kind for message in bench.broker.sent}
    assert "check_target" in kinds
    assert not kinds & {"curate_images", "adapt_encoder", "judge_experiment"}


def test_heartbeats_keep_a_long_step_alive(bench: Bench) -> None:
    bench.cycle()
    message = bench.broker.take()
    for beat in range(10):
        progress = StepProgressed(step_id=message.step_id, attempt=1, done=beat, total=10)
        bench.reports.waiting.append(progress)
        bench.cycle(20)
    assert [m.step_id for m in bench.broker.sent].count(message.step_id) == 1
    assert "step.started" in bench.told()


def test_a_broker_that_is_away_leaves_no_lease_behind(bench: Bench) -> None:
    bench.broker.away = True
    assert bench.cycle() is False
    assert bench.counts().leased == 0
    bench.broker.away = False
    bench.work_all()
    assert bench.phases()[-1] == "succeeded"


def test_an_object_store_that_is_away_postpones_reports(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.cycle()
    bench.work()
    with monkeypatch.context() as outage:

        def away(key: str) -> bytes:
            raise Transient("object store unreachable", code="object_store")

        outage.setattr(bench.objects, "get", away)
        bench.cycle(60)  # also past the lease: without the store nobody can say that the step did not finish
        assert (bench.counts().succeeded, bench.counts().leased) == (0, 3)
        # Nothing failed, so nothing but this says why nothing moves.
        assert [outage.detail for outage in bench.outages()] == ["object store unreachable"]
        bench.cycle(1)
        assert len(bench.outages()) == 1
    bench.cycle(1)
    assert bench.counts().succeeded == 1
    assert bench.outages() == ()


def test_memory_that_ran_out_on_every_worker_ends_the_experiment_with_what_it_needs(bench: Bench) -> None:
    told, steps = "memory ran out when it asked for 21,474,836,480 bytes", set()
    problem = Problem(title="Out of memory", status=503, code="out_of_memory", detail=told)
    for worker in ("big", "small", "big"):
        bench.cycle(10)
        message = bench.broker.sent[-1]
        steps.add(message.step_id)
        start = StepStarted(step_id=message.step_id, attempt=message.attempt, worker=worker)
        end = StepFailed(step_id=message.step_id, attempt=message.attempt, problem=problem, retryable=True)
        bench.reports.waiting += [start, end]
        bench.cycle(1)
    assert len(steps) == 1
    assert bench.phases()[-1] == "failed"
    step = bench.step(message.step_id)
    assert step.problem is not None
    assert step.problem.code == "needs_more_memory"
    assert told in step.problem.detail


def test_a_worker_that_goes_silent_short_of_memory_is_told_of_in_the_steps_problem(bench: Bench) -> None:
    bench.cycle()
    message = bench.broker.take()
    memory = HostMemory(held=15 * 2**30, free=2**28)
    bench.reports.waiting += [
        StepStarted(step_id=message.step_id, attempt=1, worker="w"),
        StepProgressed(step_id=message.step_id, attempt=1, done=1, memory=memory),
    ]
    bench.cycle(1)
    bench.cycle(60)
    step = bench.step(message.step_id)
    assert step.problem is not None
    assert step.problem.code == "lease_expired"
    assert "It held 15.0 GiB" in step.problem.detail


def test_while_the_object_store_is_silent_it_is_asked_for_one_result_in_a_cycle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.cycle()
    for _ in range(3):
        bench.work()
    asked = []

    def away(key: str) -> bytes:
        asked.append(key)
        raise Transient("object store unreachable", code="object_store")

    with monkeypatch.context() as outage:
        outage.setattr(bench.objects, "get", away)
        bench.cycle(1)
    assert (len(asked), bench.counts().succeeded) == (1, 0)
    bench.cycle(1)
    assert bench.counts().succeeded == 3


def test_a_conductor_killed_at_any_point_is_replaced_by_another(bench: Bench) -> None:
    class Killed(BaseException):
        pass

    def killed(message: StepMessage) -> None:
        raise Killed

    for round_number in range(3 * len(PLAN.steps)):
        if round_number % 4 == 1 and len(PLAN.steps) > bench.counts().succeeded:
            send, bench.broker.send = bench.broker.send, killed  # type: ignore[method-assign]
            try:
                bench.cycle(1)
            except Killed:
                bench.conductor = bench.another_conductor()
            bench.broker.send = send  # type: ignore[method-assign]
        bench.cycle(31)
        while bench.broker.waiting_anywhere():
            bench.work()
    bench.cycle(1)
    assert bench.phases()[-1] == "succeeded"


def test_two_conductors_do_no_harm(bench: Bench) -> None:
    first, second = bench.conductor, bench.another_conductor()
    for number in range(3 * len(PLAN.steps)):
        bench.conductor = (first, second)[number % 2]
        bench.cycle(1)
        while bench.broker.waiting_anywhere():
            bench.work()
    bench.cycle(1)
    assert bench.phases() == ["queued", "running", "succeeded"]
    assert len(bench.broker.sent) == len(PLAN.steps)


def test_cancelling_takes_queued_steps_back_and_tells_running_ones(bench: Bench) -> None:
    bench.cycle()
    running = bench.broker.take()
    bench.reports.waiting.append(StepStarted(step_id=running.step_id, attempt=1, worker="w"))
    bench.cycle(1)
    with bench.store.write() as session:
        cancel_plan(session, NAME, bench.time)
    bench.cycle(1)
    assert bench.counts().leased == 1
    assert running.step_id in bench.reports.cancelled
    gone = Problem(title="Cancelled", code="cancelled")
    bench.reports.waiting.append(StepFailed(step_id=running.step_id, attempt=1, problem=gone, retryable=False))
    bench.cycle(1)
    assert (bench.counts().leased, bench.counts().failed) == (0, 0)
    assert bench.phases() == ["queued", "running", "cancelled"]


def test_a_lost_input_is_computed_again(bench: Bench) -> None:
    bench.cycle()
    lost = bench.work()
    while lost.kind != "ingest_images":
        bench.cycle(1)
        lost = bench.work()
    bench.cycle(1)
    bench.objects.remove(manifest_key(lost.step_id))
    for _ in range(2 * len(PLAN.steps)):
        bench.cycle(10)
        while bench.broker.waiting_anywhere():
            message = bench.broker.take()
            needs = next(step.inputs for step in PLAN.steps if step.id == message.step_id)
            if all(bench.artifacts.manifest(step) for step in needs):
                bench.compute(message)
                bench.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=message.attempt))
            else:
                problem = Problem(title="Missing object", code="missing_object")
                failure = StepFailed(step_id=message.step_id, attempt=message.attempt, problem=problem, retryable=True)
                bench.reports.waiting.append(failure)
    bench.cycle(10)
    assert bench.phases()[-1] == "succeeded"
    assert [m.step_id for m in bench.broker.sent].count(lost.step_id) == 2


def test_a_lost_object_is_made_again_by_whoever_wrote_it_however_far_away(bench: Bench) -> None:
    """A pool names shards of its upstream: whoever reads them is no neighbour of the step that wrote them."""
    bench.work_all()
    writer = next(step for step in PLAN.steps if step.kind == "ingest_images")
    reader = PLAN.steps[-1]
    blob = bench.artifacts.put_blob(b"a shard")
    bench.artifacts.write_manifest(empty_manifest(writer.id, writer.kind).model_copy(update={"blobs": (blob,)}))
    with bench.store.write() as session:
        note_blobs(session, [manifest for manifest in [bench.artifacts.manifest(writer.id)] if manifest])
        row = find_rows(session, [reader.id], lock=True)[reader.id]
        save_steps(session, [StepChange(row, transitions.forget_result(to_step(row)))], bench.time)
    bench.objects.remove(manifest_key(reader.id))
    bench.objects.remove(blob_key(blob.digest))
    bench.cycle(1)
    message = bench.broker.take()
    assert message.step_id == reader.id
    problem = Problem(title="Missing object", code="missing_object", missing_object=blob_key(blob.digest))
    names = {"step_id": reader.id, "attempt": message.attempt}
    bench.reports.waiting += [StepStarted(**names, worker="w"), StepFailed(**names, problem=problem, retryable=True)]
    bench.cycle(1)
    assert bench.broker.take().step_id == writer.id
    bench.work_all()
    assert bench.phases()[-1] == "succeeded"


def test_damaged_bytes_are_computed_again_from_where_they_were_made_at_no_cost(bench: Bench) -> None:
    """A step that needs other results again, which need others: all of them are gone."""
    bench.work_all()
    by_id, depths, chain = {step.id: step for step in PLAN.steps}, dict[str, int](), [PLAN.steps[-1]]
    for step in PLAN.steps:  # in topological order; those of the upstream's plan are elsewhere
        depths[step.id] = 1 + max((depths.get(needed, 0) for needed in step.inputs), default=0)
    while needed := [each for each in chain[-1].inputs if each in by_id]:
        chain.append(by_id[max(needed, key=lambda each: depths[each])])
    reader, *made = chain
    assert len(made) >= 4
    for step in made:
        bench.objects.remove(manifest_key(step.id))
    with bench.store.write() as session:
        row = find_rows(session, [reader.id], lock=True)[reader.id]
        save_steps(session, [StepChange(row, transitions.forget_result(to_step(row)))], bench.time)
    bench.objects.remove(manifest_key(reader.id))
    bench.cycle(1)
    message = bench.broker.take()
    assert message.step_id == reader.id
    problem = Problem(title="Corrupt object", code="corrupt_object")
    bench.reports.waiting.append(StepStarted(step_id=reader.id, attempt=message.attempt, worker="w"))
    bench.reports.waiting.append(
        StepFailed(step_id=reader.id, attempt=message.attempt, problem=problem, retryable=True)
    )
    bench.cycle(1)
    with bench.store.read() as session:
        rows = find_rows(session, [step.id for step in chain])
        assert {to_step(rows[step.id]).state for step in made} <= {"waiting", "leased"}
        assert (to_step(rows[reader.id]).state, to_step(rows[reader.id]).failures) == ("waiting", 0)
    bench.work_all()
    assert bench.phases()[-1] == "succeeded"
    assert "step.failed" not in bench.told()


def test_the_size_of_a_result_is_noted_with_its_success(bench: Bench) -> None:
    bench.cycle()
    message = bench.broker.take()
    blob = bench.artifacts.put_blob(b"twelve bytes")
    manifest = empty_manifest(message.step_id, message.kind).model_copy(update={"blobs": (blob, blob)})
    bench.artifacts.write_manifest(manifest)
    for _ in range(2):  # a report may come twice
        bench.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=message.attempt))
        bench.cycle(1)
    with bench.store.read() as session:
        assert (bytes_of_all(session), bytes_of_plan(session, NAME)) == (12, StoredBytes(total=12, own=12))
        assert bytes_by_plan(session, DEFAULT_PROJECT) == {NAME: StoredBytes(total=12, own=12)}


def test_weights_that_were_let_go_are_made_again_when_a_step_misses_them_and_no_others(bench: Bench) -> None:
    bench.work_all()
    evaluation = next(step for step in PLAN.steps if step.kind == "evaluate_encoder" and "synthetic" in step.role)
    others = [step for step in PLAN.steps if step.kind == "adapt_encoder"]
    weights = {run.id: bench.artifacts.put_blob(run.id.encode()) for run in others}
    for run, blob in weights.items():
        manifest = empty_manifest(run, "adapt_encoder").model_copy(update={"blobs": (blob,)})
        bench.artifacts.write_manifest(manifest)
        bench.artifacts.let_go(run)
        bench.objects.remove(blob_key(blob.digest))
    bench.objects.remove(manifest_key(evaluation.id))
    with bench.store.write() as session:
        row = find_rows(session, [evaluation.id], lock=True)[evaluation.id]
        save_steps(session, [StepChange(row, transitions.forget_result(to_step(row)))], bench.time)
    [missed] = [run for run in evaluation.inputs if run in weights]
    message = next_message(bench, evaluation.id)
    bench.reports.waiting.append(StepStarted(step_id=message.step_id, attempt=message.attempt, worker="w"))
    with pytest.raises(MissingObject) as missing:
        bench.artifacts.get_blob(weights[missed])
    failure = StepFailed(
        step_id=message.step_id, attempt=message.attempt, problem=missing.value.problem(), retryable=True
    )
    bench.reports.waiting.append(StepFailed.model_validate_json(failure.model_dump_json()))
    bench.cycle(1)
    again = bench.broker.take()
    assert again.step_id == missed
    bench.compute(again)
    bench.reports.waiting.append(StepSucceeded(step_id=again.step_id, attempt=again.attempt))
    assert next_message(bench, evaluation.id).attempt == message.attempt + 1
    with bench.store.read() as session:
        rows = find_rows(session, weights)
        assert {to_step(row).state for row in rows.values()} == {"succeeded"}
        assert [run for run, row in rows.items() if to_step(row).attempt > 1] == [missed]


def next_message(bench: Bench, step: str, *, work: bool = False) -> StepMessage:
    """The next one for that step; others are dropped or, with `work`, finished."""
    for _ in range(50):
        bench.cycle(5)
        while bench.broker.waiting_anywhere():
            if (message := bench.broker.take()).step_id == step:
                return message
            if work:
                bench.compute(message)
                bench.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=message.attempt))
    raise AssertionError(f"no message for {step}")


def test_a_missing_object_that_no_step_made_costs_an_attempt(bench: Bench) -> None:
    bench.cycle()
    message = bench.broker.take()
    problem = Problem(title="Missing object", code="missing_object")
    for attempt in (1, 2, 3):
        assert message.attempt == attempt
        bench.reports.waiting.append(
            StepFailed(step_id=message.step_id, attempt=attempt, problem=problem, retryable=True)
        )
        message = next_message(bench, message.step_id) if attempt < 3 else message
        bench.cycle(1)
    assert bench.counts().failed == 1
    assert bench.told().count("step.failed") == 3


def test_workers_are_not_taken_for_silent_while_the_conductor_hears_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.cycle()
    message = bench.broker.take()
    bench.reports.waiting.append(StepStarted(step_id=message.step_id, attempt=1, worker="w"))
    bench.cycle(1)
    with monkeypatch.context() as outage:

        def deaf(timeout: float) -> list[object]:
            raise Transient("cannot receive reports", code="redis")

        outage.setattr(bench.reports, "receive", deaf)
        for _ in range(10):
            assert not bench.cycle(60)
    bench.cycle(1)
    assert bench.counts().leased >= 1
    bench.compute(message)
    bench.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=1))
    bench.cycle(20)
    assert bench.counts().succeeded == 1
    assert "step.failed" not in bench.told()


def test_while_no_report_can_be_received_no_attempt_is_spent_on_messages(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as outage:

        def deaf(timeout: float) -> list[object]:
            raise Transient("cannot receive reports", code="redis")

        outage.setattr(bench.reports, "receive", deaf)
        for _ in range(30):
            bench.cycle(1)
        assert (bench.counts().leased, bench.broker.sent) == (0, [])
    bench.cycle(1)
    assert {message.attempt for message in bench.broker.sent} == {1}


@pytest.mark.parametrize(
    ("spoilt", "mended"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
    ids=["full memory", "read-only"],
)
def test_a_broker_that_answers_and_takes_nothing_counts_as_away(
    fresh_valkey_url: str, spoilt: str, mended: str
) -> None:
    """Workers cannot report then, and must not be taken for silent."""
    reports, client = connect_reports(fresh_valkey_url), redis.Redis.from_url(fresh_valkey_url)
    assert reports.receive(0.05) == []
    client.execute_command(*spoilt.split())
    with pytest.raises(Transient) as refused:
        reports.receive(0.05)
    assert refused.value.code == "redis"
    client.execute_command(*mended.split())
    assert reports.receive(0.05) == []


def test_messages_reach_a_real_broker_and_reports_come_back(fresh_valkey_url: str, tmp_path: Path) -> None:
    services = memory_services(tmp_path)
    with services.store.write() as session:
        create_plan(session, NAME, PLAN.steps, Survey(), datetime.now(UTC))
    dispatcher, reports = CeleryDispatcher(celery_app(fresh_valkey_url)), connect_reports(fresh_valkey_url)
    presence = connect_presence(fresh_valkey_url)
    conductor = Conductor(services.store, services.artifacts, reports, dispatcher, presence)
    presence.announce(live_worker("retrieval", "one"), 60)
    presence.announce(live_worker("retrieval", "two"), 60)
    assert conductor.cycle(0.05)
    assert dispatcher.waiting(INGEST_IMAGES.channel) == 4
    client = redis.Redis.from_url(fresh_valkey_url)
    assert client.llen(INGEST_IMAGES.channel) == 4
    step = next(step for step in PLAN.steps if step.kind == EMBED_IMAGES.name).inputs[0]
    services.artifacts.write_manifest(empty_manifest(step, INGEST_IMAGES.name))
    reports.send(StepSucceeded(step_id=step, attempt=1))
    client.lpush("touchstone:reports", b"not a report")
    assert conductor.cycle(0.05)
    with services.store.read() as session:
        assert plan_states(session, [NAME])[NAME].counts.succeeded == 1
    client.flushall()
    presence.announce(live_worker("retrieval", "one"), 60)
    presence.announce(live_worker("retrieval", "two"), 60)
    conductor.limits = replace(conductor.limits, lease=timedelta(seconds=0.01))
    conductor.now = lambda: datetime.now(UTC) + timedelta(seconds=60)
    assert conductor.cycle(0.05)
    conductor.now = lambda: datetime.now(UTC) + timedelta(seconds=70)
    assert conductor.cycle(0.05)
    assert sum(dispatcher.waiting(contract.channel) for contract in served_by("retrieval")) == 4
    client.close()


def test_an_unreachable_broker_is_a_transient_failure() -> None:
    dispatcher, reports = CeleryDispatcher(celery_app("redis://127.0.0.1:1/0")), connect_reports("redis://127.0.0.1:1")
    step = PLAN.steps[0]
    message = StepMessage(
        step_id=step.id,
        attempt=1,
        kind=step.kind,
        version=CATALOGUE[step.kind].version,
        request=step.request.model_dump(mode="json"),
    )
    calls = (
        lambda: dispatcher.send(message),
        lambda: reports.receive(0.1),
        lambda: reports.mark_cancelled(step.id),
    )
    for call in calls:
        with pytest.raises(Transient):
            call()
