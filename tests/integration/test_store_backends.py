"""The store on both databases: the same tests pass on SQLite and on Postgres."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from support.many_steps import CHANNEL, QUEUE, independent_steps
from support.memory_services import empty_manifest
from support.plan_columns import check_plan_columns, told_phases
from support.specs import resolved
from touchstone_contracts.access import Limits as ProjectLimits
from touchstone_contracts.problems import Problem, Transient
from touchstone_contracts.steps import CATALOGUE, EARLIER, INGEST_IMAGES
from touchstone_planning import transitions
from touchstone_planning.plan import plan_experiment
from touchstone_planning.state import Step, ready_steps
from touchstone_store.database import Store, open_store
from touchstone_store.events import (
    COMPACTED_AFTER,
    PHASE_CHANGED,
    STEP_FAILED,
    STEP_SUCCEEDED,
    append_event,
    compact_history,
    events_after,
    plans_to_compact,
)
from touchstone_store.experiments import plan_states
from touchstone_store.migrate import is_current, migrate
from touchstone_store.plans import StepChange, Survey, cancel_plan, create_plan, retry_plan, save_steps
from touchstone_store.projects import create_project
from touchstone_store.steps import (
    batches,
    find_rows,
    first_ready,
    lock_step,
    owned_steps,
    ready_by_queue,
    to_step,
    unwanted_ids,
)
from touchstone_store.tables import Base, PlanRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = plan_experiment(resolved())
CHANNELS = {contract.channel for contract in (*CATALOGUE.values(), *EARLIER.values())}


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        store = open_store(f"sqlite:///{tmp_path / 'test.db'}")
    else:
        store = open_store(request.getfixturevalue("postgres_url"))
    migrate(store)
    yield store
    store.close()


def create(store: Store, name: str = "exp_a", survey: Survey | None = None, at: datetime = NOW) -> None:
    with store.write() as session:
        create_plan(session, name, PLAN.steps, survey or Survey(), at)


def create_two(store: Store, *names: str) -> None:
    with store.write() as session:
        for name in names:
            create_plan(session, name, PLAN.steps, Survey(), NOW)


def change(store: Store, step: str, to: Step) -> None:
    with store.write() as session:
        row = lock_step(session, step)
        assert row is not None
        save_steps(session, [StepChange(row, to)], NOW)


def test_the_migrated_schema_is_what_the_code_declares(store: Store) -> None:
    assert is_current(store)
    migrate(store)
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_step_comes_back_as_it_was_saved(store: Store) -> None:
    create(store)
    step = transitions.lease(Step(id=PLAN.steps[0].id), NOW, transitions.Limits())
    change(store, step.id, step)
    with store.read() as session:
        assert to_step(find_rows(session, [step.id])[step.id]) == step


def test_a_plan_is_stored_in_order_with_its_inputs_or_not_at_all(store: Store) -> None:
    create(store)
    with store.read() as session:
        assert [owned.step.id for owned in owned_steps(session, "exp_a")] == [step.id for step in PLAN.steps]
        assert plan_states(session, ["exp_a"])["exp_a"].counts.waiting == len(PLAN.steps) > 20
    with pytest.raises(IntegrityError):
        create(store)
    with pytest.raises(IntegrityError):
        create_two(store, "exp_b", "exp_a")
    with store.read() as session:
        assert list(session.scalars(select(PlanRow.id))) == ["exp_a"]


def test_sql_and_the_pure_rule_agree_on_what_is_ready(store: Store) -> None:
    create(store)
    inputs = {step.id: step.inputs for step in PLAN.steps}
    random, looked_at = Random(0), 0
    for _ in range(12):
        with store.write() as session:
            rows = find_rows(session, list(inputs))
            steps = {name: to_step(rows[name]) for name in inputs}
            expected = ready_steps(steps, inputs, NOW)
            found = first_ready(session, NOW, CHANNELS, 1000)
            kinds = {step.id: step.kind for step in PLAN.steps}
            assert [step.id for step in found] == expected
            contracts = [CATALOGUE[kinds[step.id]] for step in found]
            assert [step[1:] for step in found] == [(contract.queue, contract.channel) for contract in contracts]
            assert ready_by_queue(session, NOW) == Counter(step.queue for step in found)
            looked_at += len(expected)
            for name in random.sample(expected, min(4, len(expected))):
                after = transitions.succeed(steps[name], NOW, empty_manifest(name, kinds[name]))
                save_steps(session, [StepChange(rows[name], after)], NOW)
            for name in random.sample(expected, min(2, len(expected))):
                if steps[name].state == "waiting" and rows[name].state == "waiting":
                    rows[name].not_before = NOW + timedelta(seconds=random.choice([-1, 0]))
    assert looked_at > 30


def test_the_first_ready_steps_of_some_channels_come_from_the_oldest_plan_in_its_order(store: Store) -> None:
    create(store, at=NOW + timedelta(seconds=1))
    old = (*independent_steps(5, "old"), *independent_steps(5, "before", EARLIER["write_prompts.1"]))
    with store.write() as session:
        create_plan(session, "exp_old", old, Survey(), NOW)
    ingests = [(step.id, "retrieval", INGEST_IMAGES.channel) for step in PLAN.steps if step.kind == "ingest_images"]
    earlier = [(step.id, "generator", "write_prompts.1") for step in old[5:]]
    with store.read() as session:
        assert first_ready(session, NOW, {INGEST_IMAGES.channel, "write_prompts.1", "adapt_encoder.3"}, 7) == [
            *earlier,
            *ingests[:2],
        ]
        assert [step.id for step in first_ready(session, NOW, CHANNELS, 10)] == [step.id for step in old]
        assert first_ready(session, NOW, set(), 10) == []


def test_a_pause_and_an_ended_plan_keep_steps_back(store: Store) -> None:
    create(store)
    first = PLAN.steps[0].id
    change(store, first, Step(id=first, not_before=NOW + timedelta(seconds=1)))
    with store.read() as session:
        assert first not in {step.id for step in first_ready(session, NOW, CHANNELS, 1000)}
        assert first in {step.id for step in first_ready(session, NOW + timedelta(seconds=1), CHANNELS, 1000)}
    with store.write() as session:
        assert cancel_plan(session, "exp_a", NOW) == "cancelled"
    with store.read() as session:
        assert ready_by_queue(session, NOW + timedelta(days=1)) == {}


def test_a_cancelled_plan_gives_back_only_what_no_other_needs(store: Store) -> None:
    create(store, "exp_a")
    create(store, "exp_b", at=NOW + timedelta(seconds=1))
    first = PLAN.steps[0].id
    change(store, first, transitions.lease(Step(id=first), NOW, transitions.Limits()))
    for plan, unwanted in (("exp_a", []), ("exp_b", [first])):
        with store.write() as session:
            cancel_plan(session, plan, NOW)
        with store.read() as session:
            assert unwanted_ids(session) == unwanted


def test_a_failed_step_fails_its_plans_until_somebody_retries(store: Store) -> None:
    create(store, "exp_a")
    create(store, "exp_b")
    first = PLAN.steps[0].id
    problem = Problem(title="Broken", code="broken")
    change(store, first, transitions.fail(Step(id=first), problem, NOW, transitions.Limits(), retryable=False))
    with store.read() as session:
        assert {state.phase for state in plan_states(session, ["exp_a", "exp_b"]).values()} == {"failed"}
    with store.write() as session:
        retry_plan(session, "exp_b", NOW)
    with store.read() as session:
        assert [session.get_one(PlanRow, plan).finished_at for plan in ("exp_a", "exp_b")] == [None, None]
        told = [event.data["phase"] for event in events_after(session, "exp_a", 0)]
    assert told == ["queued", "failed", "queued"]


def test_each_phase_is_told_once(store: Store) -> None:
    create(store)
    for planned in PLAN.steps[:3]:
        step = Step(id=planned.id)
        change(store, step.id, transitions.lease(step, NOW, transitions.Limits()))
    with store.read() as session:
        assert [event.data["phase"] for event in events_after(session, "exp_a", 0)] == ["queued", "running"]


def test_events_are_read_after_an_id(store: Store) -> None:
    create(store)
    with store.write() as session:
        for number in range(5):
            append_event(session, "exp_a", "test", {"number": number}, NOW)
    with store.read() as session:
        events = [event for event in events_after(session, "exp_a", 0) if event.event == "test"]
        assert [event.data["number"] for event in events] == [0, 1, 2, 3, 4]
        assert events[0].at == NOW
        assert events_after(session, "exp_a", events[2].id) == events[3:]
        assert len(events_after(session, "exp_a", events[0].id, limit=2)) == 2


def test_writers_at_the_same_time_each_lease_other_steps(store: Store) -> None:
    """Two conductors ask for the same step: one gets it."""
    create(store)
    names = [step.id for step in PLAN.steps][:8]
    won: list[str] = []

    def lease_all() -> None:
        for name in names:
            with store.write() as session:
                row = lock_step(session, name)
                assert row is not None
                if row.state == "waiting":
                    leased = transitions.lease(to_step(row), NOW, transitions.Limits())
                    save_steps(session, [StepChange(row, leased)], NOW)
                    won.append(name)

    threads = [threading.Thread(target=lease_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(names)


def test_columns_stay_true_while_several_change_shared_steps_at_once(store: Store) -> None:
    """Steps of plans that share them and wait for each other, changed in orders that ask for trouble."""
    steps = independent_steps(12)
    with store.write() as session:
        create_plan(session, "upstream/a", steps[:4], Survey(), NOW)
        create_plan(session, "exp_b", steps[2:8], Survey(), NOW)
        create_plan(session, "exp_c", steps[4:12], Survey(), NOW, needs="upstream/a")
    broke, trouble = Problem(title="Broken", code="broken"), list[str]()

    def act(random: Random) -> None:
        if random.random() < 0.2:
            with store.write() as session:
                retry_plan(session, random.choice(["exp_b", "exp_c"]), NOW)
            return
        with store.write() as session:
            rows = find_rows(session, [step.id for step in random.sample(steps, 3)], lock=True)
            changes = []
            for row in rows.values():
                step = to_step(row)
                succeeded = transitions.succeed(step, NOW, empty_manifest(step.id, row.kind))
                failed = transitions.fail(step, broke, NOW, transitions.Limits(), retryable=False)
                lost = transitions.forget_result(step)
                after = lost if step.state == "succeeded" else random.choice([succeeded, failed])
                changes.append(StepChange(row, after, ("test.changed", {})))
            save_steps(session, changes, NOW)

    def act_often(seed: int) -> None:
        random = Random(seed)
        for _ in range(25):
            try:
                act(random)
            except Transient as error:
                # Postgres may end one of two transactions that wait for each other.
                trouble.append(error.code)
            except Exception as error:
                trouble.append(repr(error))
                raise

    threads = [threading.Thread(target=act_often, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(trouble) <= {"database"}
    assert check_plan_columns(store) == 3
    with store.read() as session:
        assert len(events_after(session, "exp_b", 0)) > 20


def finish(store: Store, plan: str, *, fail: bool = False) -> None:
    """Every step of a plan succeeds, or its first fails."""
    with store.write() as session:
        rows = find_rows(session, [owned.step.id for owned in owned_steps(session, plan)], lock=True)
        for row in list(rows.values())[: 1 if fail else None]:
            step = to_step(row)
            if fail:
                problem = Problem(title="Broken", detail="no such file", code="broken")
                after = transitions.fail(step, problem, NOW, transitions.Limits(), retryable=False)
            else:
                after = transitions.succeed(step, NOW, empty_manifest(step.id, row.kind))
            save_steps(session, [StepChange(row, after, (STEP_FAILED if fail else STEP_SUCCEEDED, {}))], NOW)


def phases(store: Store, *plans: str) -> list[str]:
    with store.read() as session:
        found = plan_states(session, plans)
    return [found[plan].phase for plan in plans]


def test_an_experiment_fails_and_goes_on_with_the_upstream_that_it_waits_for(store: Store) -> None:
    upstream, own, further = independent_steps(2, "up"), independent_steps(2, "own"), independent_steps(1, "further")
    with store.write() as session:
        create_plan(session, "upstream/a", upstream, Survey(), NOW)
        create_plan(session, "exp_waits", own, Survey(), NOW, needs="upstream/a")
        create_plan(session, "exp_alone", further, Survey(), NOW)
        create_plan(session, "exp_of_nothing", (), Survey(), NOW, needs="upstream/a")
        create_plan(session, "exp_cancelled", own, Survey(), NOW, needs="upstream/a")
        cancel_plan(session, "exp_cancelled", NOW)
    everyone = ("upstream/a", "exp_waits", "exp_alone", "exp_of_nothing", "exp_cancelled")
    finish(store, "upstream/a", fail=True)
    assert phases(store, *everyone) == ["failed", "failed", "queued", "succeeded", "cancelled"]
    with store.write() as session:
        create_plan(session, "exp_later", own, Survey(), NOW, needs="upstream/a")
        assert ready_by_queue(session, NOW) == {QUEUE: 1}, "only the experiment that needs no upstream goes on"
    assert phases(store, "exp_later") == ["failed"]
    with store.write() as session:
        retry_plan(session, "exp_waits", NOW)
    assert phases(store, *everyone, "exp_later") == ["queued", "queued", "queued", "succeeded", "cancelled", "queued"]
    finish(store, "upstream/a")
    finish(store, "exp_waits")
    assert phases(store, *everyone, "exp_later") == [
        *("succeeded", "succeeded", "queued", "succeeded", "cancelled", "succeeded")
    ]
    assert check_plan_columns(store) == 6
    with store.read() as session:
        assert told_phases(session, "exp_waits") == ["queued", "failed", "queued", "running", "succeeded"]


def test_the_history_of_an_ended_plan_keeps_phases_and_failures(store: Store) -> None:
    create(store)
    finish(store, "exp_a", fail=True)
    with store.write() as session:
        retry_plan(session, "exp_a", NOW)
    finish(store, "exp_a")
    later = NOW + COMPACTED_AFTER
    with store.read() as session:
        before = events_after(session, "exp_a", 0)
        assert plans_to_compact(session, later - timedelta(seconds=1)) == [], "streams may still be reading"
        assert plans_to_compact(session, later) == ["exp_a"]
    with store.write() as session:
        assert not compact_history(session, "exp_a", later - timedelta(seconds=1))
        assert compact_history(session, "exp_a", later)
    with store.read() as session:
        after = events_after(session, "exp_a", 0)
        assert plans_to_compact(session, later) == []
    assert after == [event for event in before if event.event in (PHASE_CHANGED, STEP_FAILED)]
    assert len(before) - len(after) == len(PLAN.steps)
    with store.write() as session:
        lost = PLAN.steps[0].id
        row = find_rows(session, [lost], lock=True)[lost]
        save_steps(session, [StepChange(row, transitions.forget_result(to_step(row)))], later)
    finish(store, "exp_a")
    with store.read() as session:
        assert events_after(session, "exp_a", after[-1].id)[-2].event == STEP_SUCCEEDED, "it is told in full again"
        assert plans_to_compact(session, later) == ["exp_a"]


def test_long_id_lists_are_asked_in_batches() -> None:
    asked = list(batches([str(number) for number in range(1201)]))
    assert [len(batch) for batch in asked] == [500, 500, 201]


def test_projects_take_turns_and_the_one_with_least_at_work_comes_first(store: Store) -> None:
    small, large = independent_steps(3, "small"), independent_steps(40, "large")
    with store.write() as session:
        other = create_project(session, "other", ProjectLimits(), NOW)
        for number, each in enumerate(large):
            create_plan(session, f"exp_l{number:02}", [each], Survey(), NOW)
        create_plan(session, "exp_z", small, Survey(), NOW + timedelta(hours=1), project=other)
    order: list[str] = []
    while True:
        with store.read() as session:
            chosen = first_ready(session, NOW, {CHANNEL}, 1)
        if not chosen:
            break
        [step] = chosen
        with store.write() as session:
            row = lock_step(session, step.id)
            assert row is not None
            save_steps(session, [StepChange(row, transitions.lease(to_step(row), NOW, transitions.Limits()))], NOW)
        order.append("small" if step.id in {each.id for each in small} else "large")
    assert order.count("small") == 3
    assert order[:7] == ["large", "small", "large", "small", "large", "small", "large"]
    assert len(order) == 43


def test_a_step_that_two_projects_need_comes_when_the_first_of_them_gets_it(store: Store) -> None:
    shared, many = independent_steps(1, "shared"), independent_steps(20, "many")
    with store.write() as session:
        other = create_project(session, "other", ProjectLimits(), NOW)
        create_plan(session, "exp_a", [*many, *shared], Survey(), NOW)
        create_plan(session, "exp_b", shared, Survey(), NOW + timedelta(hours=1), project=other)
        found = [step.id for step in first_ready(session, NOW, CHANNELS, 50)]
    assert found.index(shared[0].id) <= 1
    assert len(found) == len(set(found)) == 21
