"""What a stream of events tells of progress, which no history holds."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import api_client
from touchstone_api.bootstrap import Services
from touchstone_api.busy import Busy
from touchstone_api.event_hub import PROGRESS_SECONDS, REMEMBERED, EventHub, ProgressTeller
from touchstone_api.routes.events import stream
from touchstone_contracts.messages import StepProgressed
from touchstone_contracts.problems import Transient
from touchstone_contracts.views import Event
from touchstone_planning import transitions
from touchstone_planning.state import Step
from touchstone_planning.transitions import Limits
from touchstone_store.database import Store
from touchstone_store.events import COMPACTED_AFTER, append_event, compact_history, plans_to_compact
from touchstone_store.layouts import upstream_plan_id
from touchstone_store.plans import StepChange, cancel_plan, save_steps
from touchstone_store.steps import Progress, find_rows, to_step
from touchstone_store.tables import EventRow, PlanRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits()


def change(services: Services, step: str, to: Callable[[Step], Step]) -> None:
    with services.store.write() as session:
        row = find_rows(session, [step], lock=True)[step]
        save_steps(session, [StepChange(row, to(to_step(row)))], NOW)


def progressed(done: int) -> Callable[[Step], Step]:
    def apply(step: Step) -> Step:
        report = StepProgressed(step_id=step.id, attempt=step.attempt, done=done, total=10)
        return transitions.apply_report(step, report, NOW, LIMITS)

    return apply


def test_progress_is_told_from_the_row_of_a_leased_step_and_kept_nowhere(services: Services) -> None:
    told = post_experiment(services)
    step = told.plan.steps[0]
    clock = [0.0]
    change(services, step.id, lambda before: transitions.lease(before, NOW, LIMITS))
    change(services, step.id, progressed(3))

    async def watch() -> list[tuple[str | None, str | None, dict[str, object]]]:
        seen = []
        hub = EventHub(services.store, 0.001, 10, lambda: clock[0])
        async for message in stream(hub, told.id, 0):
            data = json.loads(str(message.data))
            seen.append((message.id, message.event, data))
            if message.event == "step.progress":
                clock[0] += PROGRESS_SECONDS
                if data["data"]["done"] == 3:
                    change(services, step.id, progressed(7))
                else:
                    with services.store.write() as session:
                        cancel_plan(session, told.id, NOW)
        return seen

    seen = asyncio.run(watch())
    assert [event for _, event, _ in seen] == [
        *("experiment.phase", "experiment.phase", "step.progress", "step.progress", "experiment.phase")
    ]
    first, second = (data for _, event, data in seen if event == "step.progress")
    assert first["data"] == {"step": step.id, "kind": step.kind, "role": step.role, "done": 3, "total": 10}
    assert second["data"] == {"step": step.id, "kind": step.kind, "role": step.role, "done": 7, "total": 10}
    # Without an id the reader's last id stays that of the history, where it resumes.
    assert [identity for identity, event, _ in seen if event == "step.progress"] == [None, None]
    assert [first["id"], second["id"]] == [seen[1][2]["id"]] * 2
    with services.store.read() as session:
        assert set(session.scalars(select(EventRow.event))) == {"experiment.phase"}


def test_only_what_changed_is_told() -> None:
    teller = ProgressTeller()
    begun, half = Progress("a", "kind", "role", 1, 0, None), Progress("b", "kind", "role", 1, 5, 10)
    assert list(teller.news([begun, half])) == [half]
    assert list(teller.news([begun, half])) == []
    further = Progress("a", "kind", "role", 1, 0, 4)
    again = Progress("b", "kind", "role", 2, 5, 10)
    assert list(teller.news([further, again])) == [further, again]


def test_a_reader_who_comes_after_the_end_gets_phases_failures_and_the_end(services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    with services.store.write() as session:
        finished = session.get_one(PlanRow, told.id).finished_at
        assert finished is not None
        later = finished + COMPACTED_AFTER
        plans = plans_to_compact(session, later)
        assert sorted(plans) == [told.id, upstream_plan_id(told.spec.upstream)]
        assert all(compact_history(session, plan, later) for plan in plans)
    with api_client(services) as client:
        text = client.get(f"/v1/experiments/{told.id}/events").text
        data = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
        assert [event["data"]["phase"] for event in data] == ["queued", "succeeded"]
        resumed = client.get(f"/v1/experiments/{told.id}/events", headers={"Last-Event-ID": str(data[-1]["id"])})
        assert resumed.status_code == 204


def told_of(services: Services, experiment: str, count: int) -> None:
    with services.store.write() as session:
        for number in range(count):
            append_event(session, experiment, "step.failed", {"number": number}, NOW)


def cancel(services: Services, experiment: str) -> None:
    with services.store.write() as session:
        cancel_plan(session, experiment, NOW)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def read_all(hub: EventHub, experiment: str, after: int = 0) -> list[int]:
    return [told.id async for told, _ in hub.listen(experiment, after) if isinstance(told, Event)]


def test_many_readers_share_one_look_and_each_gets_everything(services: Services) -> None:
    experiment = post_experiment(services).id
    readers = 50

    async def watch() -> tuple[list[list[int]], int, int]:
        hub = EventHub(services.store, 0.01, readers)
        reading = [asyncio.create_task(read_all(hub, experiment)) for _ in range(readers)]
        await until(lambda: hub.listeners == readers)
        before = hub.looks
        await asyncio.to_thread(told_of, services, experiment, 2 * REMEMBERED)
        await asyncio.to_thread(cancel, services, experiment)
        return list(await asyncio.gather(*reading)), hub.looks - before, hub.listeners

    seen, looks, left = asyncio.run(watch())
    with services.store.read() as session:
        everything = list(
            session.scalars(select(EventRow.id).where(EventRow.plan_id == experiment).order_by(EventRow.id))
        )
    assert len(everything) >= 2 * REMEMBERED + 2
    assert [ids == everything for ids in seen] == [True] * readers
    assert looks < 500  # about as many as one reader would need: 50 of them made 50 times as many
    assert left == 0


def test_a_reader_who_is_far_behind_reads_what_is_not_remembered_any_more(services: Services) -> None:
    experiment = post_experiment(services).id

    async def watch() -> tuple[list[int], list[int]]:
        hub = EventHub(services.store, 0.005, 10)
        slow = hub.listen(experiment, 0)
        first, _ = await anext(slow)
        assert isinstance(first, Event)
        reading = asyncio.create_task(read_all(hub, experiment))
        await asyncio.to_thread(told_of, services, experiment, 3 * REMEMBERED)
        await until(lambda: hub._channels[experiment].remembered_after > first.id)
        await asyncio.to_thread(cancel, services, experiment)
        late = [first.id, *[told.id async for told, _ in slow if isinstance(told, Event)]]
        return late, await reading

    late, prompt = asyncio.run(watch())
    assert late == prompt
    assert len(late) >= 3 * REMEMBERED + 2


def test_readers_who_leave_are_forgotten_and_nobody_looks_for_nobody(services: Services) -> None:
    experiment = post_experiment(services).id

    async def watch() -> tuple[int, int, int]:
        hub = EventHub(services.store, 0.001, 10)
        reading = [asyncio.create_task(read_all(hub, experiment)) for _ in range(10)]
        await until(lambda: hub.listeners == 10)
        with pytest.raises(Busy, match="10 event streams are open"):
            await anext(hub.listen(experiment, 0))
        for reader in reading:
            reader.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        left, poller = hub.listeners, hub._poller
        again = asyncio.create_task(read_all(hub, experiment))
        await until(lambda: hub.listeners == 1)
        await asyncio.to_thread(cancel, services, experiment)
        return left, poller is None, len(await again)

    left, without_poller, read = asyncio.run(watch())
    assert (left, without_poller) == (0, True)
    assert read >= 2


class Away(Store):
    """A database that fails for a while."""

    def __init__(self, store: Store, error: Exception, times: int) -> None:
        super().__init__(store.engine)
        self.error, self.left = error, times

    @contextmanager
    def read(self) -> Iterator[Session]:
        if self.left:
            self.left -= 1
            raise self.error
        with super().read() as session:
            yield session


def test_an_outage_of_the_database_ends_no_stream(services: Services) -> None:
    experiment = post_experiment(services).id

    async def watch() -> list[int]:
        store = Away(services.store, Transient("the database is away"), times=3)
        reading = asyncio.create_task(read_all(EventHub(store, 0.001, 10), experiment))
        await until(lambda: not store.left)
        await asyncio.to_thread(cancel, services, experiment)
        return await reading

    assert len(asyncio.run(watch())) >= 2


def test_a_bug_of_the_look_ends_the_streams_that_wait_for_it(services: Services) -> None:
    experiment = post_experiment(services).id

    async def watch() -> list[int]:
        async with asyncio.timeout(20):
            hub = EventHub(Away(services.store, RuntimeError("bug"), times=1), 0.001, 10)
            return await read_all(hub, experiment)

    assert asyncio.run(watch()) == []


def test_too_many_streams_are_told_to_come_again(services: Services) -> None:
    told = post_experiment(services)
    few = replace(services, settings=services.settings.model_copy(update={"most_event_streams": 0}))
    with api_client(few) as client:
        answer = client.get(f"/v1/experiments/{told.id}/events")
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) > 0
