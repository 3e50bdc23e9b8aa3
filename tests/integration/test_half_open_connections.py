"""A server that accepts and answers nothing: every client says so within its limit, and works once it answers again."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis
import sqlalchemy
from sqlalchemy.orm import Session
from support.echo_steps import CHANNEL, echo_message, echo_worker
from support.half_open import LOOPBACK, Proxy
from support.live_workers import live_worker
from support.waiting import until
from touchstone_contracts.messages import StepStarted
from touchstone_contracts.problems import Transient
from touchstone_contracts.sources import AllowedSources
from touchstone_retrieval.index.collections import Collection
from touchstone_retrieval.index.qdrant_server import connect_server
from touchstone_runtime import queue, redis_connections, s3_connections
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.presence import connect_presence
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.reports import ReportLine, connect_reports
from touchstone_runtime.s3_connections import connect_s3
from touchstone_runtime.s3_files import S3Files
from touchstone_runtime.settings import RuntimeSettings
from touchstone_store.database import open_store

STARTED = StepStarted(step_id="a" * 64, attempt=1, worker="w")
WORKER = live_worker("trainer", "a")
SHORT_SECONDS = 1.0
SLACK_SECONDS = 5.0
"""For a busy machine, and for Celery, which pauses for two seconds before it connects anew."""


@pytest.fixture
def before_valkey(fresh_valkey_url: str) -> Iterator[Proxy]:
    parts = redis.connection.parse_url(fresh_valkey_url)
    with Proxy((parts["host"], parts["port"])) as proxy:
        yield proxy


@pytest.fixture
def proxied_valkey(before_valkey: Proxy, fresh_valkey_url: str) -> str:
    head, _, tail = fresh_valkey_url.rpartition("@")
    return f"{head}@{before_valkey.address}/{tail.partition('/')[2]}"


@pytest.fixture
def before_s3(s3_settings: RuntimeSettings, s3_objects: S3Objects) -> Iterator[Proxy]:
    host, _, port = s3_settings.s3_endpoint.partition(":")
    with Proxy((host, int(port))) as proxy:
        yield proxy


@dataclass(frozen=True)
class EchoWorker:
    """One that reaches Redis through the proxy, and what speaks to it past the proxy."""

    process: subprocess.Popen[bytes]
    log: Path
    line: ReportLine
    dispatcher: CeleryDispatcher


@pytest.fixture
def worker(
    proxied_valkey: str, fresh_valkey_url: str, s3_settings: RuntimeSettings, s3_objects: S3Objects, tmp_path: Path
) -> Iterator[EchoWorker]:
    line, dispatcher = connect_reports(fresh_valkey_url), CeleryDispatcher(celery_app(fresh_valkey_url))
    log = tmp_path / "log"
    with echo_worker(proxied_valkey, s3_settings, log, heartbeat_seconds=0.5) as process:
        yield EchoWorker(process, log, line, dispatcher)


@contextmanager
def gives_up_within(seconds: float, code: str) -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(Transient) as caught:
        yield
    waited = time.monotonic() - began
    assert caught.value.code == code
    assert seconds / 2 < waited < seconds + SLACK_SECONDS, f"{waited:.1f} s; a quick refusal is no silence"


def test_the_proxy_passes_on_swallows_cuts_delays_and_truncates(before_valkey: Proxy, proxied_valkey: str) -> None:
    client = redis.Redis.from_url(proxied_valkey, socket_timeout=0.3, retry=None)
    assert client.set("greeting", b"x" * 1000)
    before_valkey.swallow()
    for _ in range(2):  # on the connection that was open, and on a new one
        with pytest.raises(redis.TimeoutError):
            client.get("greeting")
    assert before_valkey.swallowed > 0
    before_valkey.pass_on()
    assert client.get("greeting") == b"x" * 1000
    before_valkey.cut()
    with pytest.raises(redis.ConnectionError):
        client.get("greeting")
    before_valkey.truncate(after=500)
    with pytest.raises(redis.ConnectionError):
        client.get("greeting")
    before_valkey.delay(0.1)
    began = time.monotonic()
    assert client.get("greeting") == b"x" * 1000
    assert time.monotonic() - began >= 0.1


QUESTIONS: dict[str, Callable[[str], Callable[[], object]]] = {
    "report": lambda url: partial(connect_reports(url).send, STARTED),
    "receive": lambda url: partial(connect_reports(url).receive, 0.5),
    "wanted": lambda url: partial(connect_reports(url).is_unwanted, STARTED.step_id, 1),
    "announce": lambda url: partial(connect_presence(url).announce, WORKER, 30),
    "live": lambda url: connect_presence(url).live,
    "send": lambda url: partial(CeleryDispatcher(celery_app(url)).send, echo_message("half-open")),
    "waiting": lambda url: partial(CeleryDispatcher(celery_app(url)).waiting, CHANNEL),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_silent_redis_is_an_outage_within_its_limit(
    monkeypatch: pytest.MonkeyPatch, before_valkey: Proxy, proxied_valkey: str, name: str
) -> None:
    for module in (redis_connections, queue):
        monkeypatch.setattr(module, "ANSWER_SECONDS", SHORT_SECONDS)
    ask = QUESTIONS[name](proxied_valkey)
    connect_reports(proxied_valkey).send(STARTED)  # something to receive
    ask()
    before_valkey.swallow()
    for _ in range(2):  # on a connection that was open, then on a new one
        with gives_up_within(SHORT_SECONDS, "redis"):
            ask()
    before_valkey.pass_on()
    connect_reports(proxied_valkey).send(STARTED)
    ask()


def test_a_silent_object_store_is_an_outage_within_its_limit(before_s3: Proxy, s3_settings: RuntimeSettings) -> None:
    proxied = s3_settings.model_copy(update={"s3_endpoint": before_s3.address})
    client = connect_s3(proxied, answer_seconds=SHORT_SECONDS)
    objects, files = S3Objects(client, proxied.s3_bucket), S3Files(client, AllowedSources(buckets=(proxied.s3_bucket,)))
    objects.put("half-open", b"bytes")
    asked: list[Callable[[], object]] = [
        partial(objects.get, "half-open"),
        partial(objects.size, "half-open"),
        partial(objects.put, "half-open-too", b"x" * 100_000),
        partial(objects.put, "half-open-too", b"x" * (6 * 2**20)),
        partial(objects.remove, "half-open-too"),
        lambda: list(objects.listed("half-open")),
        partial(files.below, f"s3://{proxied.s3_bucket}/half-open"),
    ]
    for ask in asked:
        before_s3.swallow()
        with gives_up_within(SHORT_SECONDS, "object_store"):
            ask()
        before_s3.pass_on()
        assert objects.get("half-open") == b"bytes"


def test_an_answer_that_breaks_off_is_read_again_or_an_outage(before_s3: Proxy, s3_settings: RuntimeSettings) -> None:
    proxied = s3_settings.model_copy(update={"s3_endpoint": before_s3.address})
    objects = S3Objects(connect_s3(proxied), proxied.s3_bucket)
    body = bytes(range(256)) * 400
    objects.put("broken-off", body)
    before_s3.truncate(after=5_000)
    with pytest.raises(Transient) as caught:
        objects.get("broken-off")
    assert caught.value.code == "object_store"
    before_s3.pass_on()
    assert objects.get("broken-off") == body


def test_a_limit_on_sending_is_for_each_piece_and_not_for_all_of_an_object(
    monkeypatch: pytest.MonkeyPatch, before_s3: Proxy, s3_settings: RuntimeSettings
) -> None:
    """24 MiB at what is left of 4 MiB a second take longer than the limit for one of them."""
    monkeypatch.setattr(s3_connections, "CONNECT_SECONDS", 1.5)
    proxied = s3_settings.model_copy(update={"s3_endpoint": before_s3.address})
    objects = S3Objects(connect_s3(proxied), proxied.s3_bucket)
    before_s3.slow_down(bytes_per_second=6 * 2**20)
    body = b"0123456789abcdef" * (24 * 2**16)
    began = time.monotonic()
    objects.put("slow", body)
    assert time.monotonic() - began > 2.0
    before_s3.pass_on()
    assert objects.size("slow") == len(body)


def test_a_silent_postgres_is_an_outage_within_its_limit(postgres_url: str) -> None:
    url = sqlalchemy.make_url(postgres_url)
    folder = url.query.get("host") or url.host
    assert isinstance(folder, str)
    target = f"{folder}/.s.PGSQL.{url.port or 5432}" if folder.startswith("/") else (folder, url.port or 5432)
    with Proxy(target) as proxy:
        proxied = url.difference_update_query(["host"]).set(host=LOOPBACK, port=proxy.port)
        store = open_store(proxied.render_as_string(hide_password=False), answer_seconds=SHORT_SECONDS)
        store.ping()
        proxy.swallow()
        with gives_up_within(SHORT_SECONDS + 5, "database"):  # the open connection, then a new one
            store.ping()
        proxy.pass_on()
        store.ping()
        with pytest.raises(Transient, match="does not answer"), store.write() as session:
            ask_and_ask_again(session, proxy)
        proxy.pass_on()
        store.ping()
        store.close()


def ask_and_ask_again(session: Session, proxy: Proxy) -> None:
    """The server is silent from the second question on."""
    session.execute(sqlalchemy.text("SELECT 1"))
    proxy.swallow()
    session.execute(sqlalchemy.text("SELECT 1"))


def test_postgres_ends_what_takes_too_long_and_waits_for_no_lock_for_ever(postgres_url: str) -> None:
    url = sqlalchemy.make_url(postgres_url)
    hurried = url.update_query_dict({"options": "-c statement_timeout=300 -c lock_timeout=100"})
    store = open_store(hurried.render_as_string(hide_password=False))
    with pytest.raises(Transient, match="ended the statement"), store.read() as session:
        session.execute(sqlalchemy.text("SELECT pg_sleep(30)"))
    with store.write() as session:
        session.execute(sqlalchemy.text("CREATE TABLE locked (id int)"))
    with store.write() as holding:
        holding.execute(sqlalchemy.text("LOCK TABLE locked"))
        with pytest.raises(Transient, match="holds a lock"), store.write() as waiting:
            waiting.execute(sqlalchemy.text("LOCK TABLE locked"))
    store.close()
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

    def shown(session: Session) -> list[str]:
        return [str(session.execute(sqlalchemy.text(f"SHOW {name}")).scalar_one()) for name in limits]

    store = open_store(postgres_url)
    with store.read() as session:
        assert shown(session) == ["30s", "15s", "1min"]
    with store.unhurried() as unhurried, unhurried.read() as session:
        assert shown(session) == ["0", "0", "0"]
    store.close()


def test_a_silent_vector_index_is_an_outage_within_its_limit() -> None:
    with Proxy((LOOPBACK, 9)) as proxy:
        proxy.swallow()
        index = connect_server(f"http://{proxy.address}", "", timeout=1)
        with gives_up_within(1, "vector_index"):
            index.count(Collection(name="c", dimension=4, shards=()))
        assert proxy.swallowed > 0


def test_a_worker_whose_question_for_work_stays_unanswered_asks_again(
    before_valkey: Proxy, worker: EchoWorker, fresh_valkey_url: str
) -> None:
    first = echo_message("before")
    worker.dispatcher.send(first)
    heard(worker.line, first.step_id, "succeeded", within=60)
    before_valkey.swallow()
    # What the server sends into silence is gone, until the conductor hands it out again: nobody must wait there.
    server = redis.Redis.from_url(fresh_valkey_url)
    until(lambda: server.info("clients")["blocked_clients"] == 0, within=10)
    before_valkey.pass_on()  # for new connections: those that were open stay silent
    second = echo_message("afterwards")
    worker.dispatcher.send(second)
    heard(worker.line, second.step_id, "succeeded", within=2 * redis_connections.IDLE_CHECK_SECONDS + 20)
    assert worker.process.poll() is None


def test_a_worker_whose_step_outlives_a_silent_redis_is_heard_again_and_takes_the_next(
    before_valkey: Proxy, worker: EchoWorker
) -> None:
    long = echo_message("linger")
    worker.dispatcher.send(long)
    heard(worker.line, long.step_id, "progressed", within=60)
    before_valkey.swallow()
    before_valkey.wait_until(lambda proxy: proxy.swallowed > 100)
    worker.line.receive(1)  # what was on its way
    before_valkey.pass_on()
    heard(worker.line, long.step_id, "progressed", within=2 * redis_connections.ANSWER_SECONDS + SLACK_SECONDS)
    worker.line.note_attempt(long.step_id, 2)  # ends the first; its message is acknowledged over a silent connection
    heard(worker.line, long.step_id, "failed", within=2 * redis_connections.ANSWER_SECONDS + SLACK_SECONDS)
    worker.dispatcher.send(long.model_copy(update={"attempt": 2}))
    heard(worker.line, long.step_id, "succeeded", within=2 * redis_connections.IDLE_CHECK_SECONDS + 20)
    assert worker.process.poll() is None


def test_a_worker_whose_acknowledgement_is_lost_takes_the_next_step(before_valkey: Proxy, worker: EchoWorker) -> None:
    step = echo_message("nap")
    worker.dispatcher.send(step)
    heard(worker.line, step.step_id, "started", within=60)
    before_valkey.swallow()
    until(lambda: "Couldn't ack" in worker.log.read_text(), within=60)
    before_valkey.pass_on()
    for name in ("second", "third"):
        following = echo_message(name)
        worker.dispatcher.send(following)
        heard(worker.line, following.step_id, "succeeded", within=2 * redis_connections.IDLE_CHECK_SECONDS + 20)
    assert worker.process.poll() is None
    assert worker.log.read_text().count("Connection to broker lost") == 1


def heard(line: ReportLine, step: str, event: str, within: float) -> None:
    """Waits until the worker tells that of the step."""

    def look() -> bool:
        return any((report.step_id, report.event) == (step, event) for report in line.receive(1))

    until(look, within)
