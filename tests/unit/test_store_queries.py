"""How SQLite answers what is asked all the time: from indices, never by reading every step, event or experiment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session
from support.finished_experiments import finish_experiment, post_experiment
from support.many_steps import CHANNEL, independent_steps
from support.memory_services import api_client
from touchstone_api.bootstrap import Services
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.steps import WRITE_PROMPTS
from touchstone_store import steps
from touchstone_store.database import Store
from touchstone_store.events import events_after, plans_to_compact
from touchstone_store.experiments import active_steps_by_state, phases_by_count
from touchstone_store.listing import list_experiments
from touchstone_store.measured import measured_steps
from touchstone_store.plans import Survey, cancel_plan, create_plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LARGE = ("steps", "step_inputs", "plan_steps", "events", "experiments")
FIRST_PAGE = "SCAN experiments USING INDEX sqlite_autoindex_experiments_1"
Asked = list[tuple[str, Any]]

QUESTIONS: dict[str, Callable[[Session], object]] = {
    "first_ready": lambda session: steps.first_ready(session, NOW, [CHANNEL], 10),
    "unserved_steps": lambda session: steps.unserved_steps(session, [CHANNEL]),
    "ready_by_queue": lambda session: steps.ready_by_queue(session, NOW),
    "ready_since_by_queue": lambda session: steps.ready_since_by_queue(session, NOW),
    "leased_by_queue": steps.leased_by_queue,
    "leased_by_channel": steps.leased_by_channel,
    "unstarted_of": lambda session: steps.unstarted_of(session, WRITE_PROMPTS.name, WRITE_PROMPTS.version),
    "expired_ids": lambda session: steps.expired_ids(session, NOW),
    "unwanted_ids": steps.unwanted_ids,
    "plans_to_compact": lambda session: plans_to_compact(session, NOW),
    "events_after": lambda session: events_after(session, "exp_a", 5),
    "progress_of": lambda session: steps.progress_of(session, "exp_a"),
    "owned_steps": lambda session: steps.owned_steps(session, "exp_a"),
    "problems_of": lambda session: steps.problems_of(session, ["exp_a", "exp_b"]),
    "phases_by_count": phases_by_count,
    "active_steps_by_state": active_steps_by_state,
    "measured_steps": lambda session: measured_steps(session, [WRITE_PROMPTS.name]),
}


@contextmanager
def listening(store: Store) -> Iterator[Asked]:
    asked: Asked = []

    def note(*call: Any) -> None:
        asked.append((call[2], call[3]))

    event.listen(store.engine, "before_cursor_execute", note)
    yield asked
    event.remove(store.engine, "before_cursor_execute", note)


def plan_of(store: Store, asked: Asked) -> list[str]:
    """The lines of EXPLAIN QUERY PLAN of every SELECT."""
    lines = []
    with store.engine.connect() as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                lines += [row[-1] for row in found]
    return lines


def whole_tables(lines: list[str]) -> list[str]:
    """Lines that read all of a table which grows with history. Aliases are SQLAlchemy's: `steps_1`."""
    scans = [line for line in lines if line.startswith("SCAN ") and line.split()[1].rstrip("_0123456789") in LARGE]
    # The index of leased steps is small, and the first page of the list ends at its limit.
    return [line for line in scans if "steps_leased" not in line and line != FIRST_PAGE]


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table_of_history(services: Services, question: str) -> None:
    with listening(services.store) as asked, services.store.read() as session:
        QUESTIONS[question](session)
    lines = plan_of(services.store, asked)
    assert len(lines) >= 1
    assert whole_tables(lines) == []


def test_the_list_is_read_by_its_index_without_steps_requests_or_resolved_bodies(services: Services) -> None:
    with listening(services.store) as asked, services.store.read() as session:
        list_experiments(session, DEFAULT_PROJECT, after="exp_zzz", limit=50)
    [statement] = [statement for statement, _ in asked if statement.startswith("SELECT")]
    assert "steps" not in statement
    assert "resolved" not in statement
    assert whole_tables(plan_of(services.store, asked)) == []


def test_looking_at_an_experiment_reads_no_request_and_no_resolved_body(services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    with api_client(services) as client, listening(services.store) as asked:
        assert len(client.get(f"/v1/experiments/{told.id}").json()["step_list"]) > 20
        assert len(client.get("/v1/experiments").json()["items"]) == 1
    text_of_all = " ".join(statement for statement, _ in asked)
    assert "steps.id" in text_of_all
    assert "request" not in text_of_all
    assert "resolved" not in text_of_all
    assert whole_tables(plan_of(services.store, asked)) == []


def test_a_scrape_of_the_api_reads_no_step(services: Services) -> None:
    post_experiment(services)
    with api_client(services) as client, listening(services.store) as asked:
        assert 'touchstone_experiments{phase="queued"} 1.0' in client.get("/metrics").text
    assert whole_tables(plan_of(services.store, asked)) == []
    assert not [statement for statement, _ in asked if "steps" in statement]


def test_steps_that_cancelled_experiments_left_waiting_are_not_looked_at(services: Services) -> None:
    """As many rows as SQLite reads: its own counter of steps of the virtual machine, with and without history."""
    store = services.store

    def work() -> int:
        with store.engine.connect() as connection:
            ticks = 0

            def tick() -> int:
                nonlocal ticks
                ticks += 1
                return 0

            connection.connection.dbapi_connection.set_progress_handler(tick, 10)  # type: ignore[union-attr]
            with Session(connection) as session:
                assert len(steps.first_ready(session, NOW, [CHANNEL], 100)) == 5
                steps.ready_by_queue(session, NOW)
                steps.unwanted_ids(session)
            connection.connection.dbapi_connection.set_progress_handler(None, 10)  # type: ignore[union-attr]
        return ticks

    with store.write() as session:
        create_plan(session, "exp_wanted", independent_steps(5, "wanted"), Survey(), NOW)
    before = work()
    with store.write() as session:
        for number in range(20):
            create_plan(session, f"exp_{number}", independent_steps(30, f"left {number}"), Survey(), NOW)
            cancel_plan(session, f"exp_{number}", NOW)
        assert session.execute(text("SELECT count(*) FROM steps WHERE state = 'waiting'")).scalar() == 605
    assert 5 < before <= work() < 1.5 * before
