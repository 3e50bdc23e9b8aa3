"""Workers that end themselves when nobody needs them, on a real Valkey: no step is cut short, no message is lost."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest
import redis
from support.echo_steps import CHANNEL, echo_message, echo_worker
from touchstone_contracts.messages import StepFailed, StepProgressed, StepReport, StepStarted, StepSucceeded
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.presence import connect_presence
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.reports import ReportLine, connect_reports
from touchstone_runtime.settings import RuntimeSettings

IDLE_SECONDS = 1.0
DEADLINE_SECONDS = 60
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(
    fresh_valkey_url: str, s3_settings: RuntimeSettings, s3_objects: S3Objects, tmp_path: Path
) -> Iterator[Start]:
    """Starts one more worker that leaves when it is idle."""
    with ExitStack() as running:
        count = iter(range(1000))

        def start(**settings: object) -> subprocess.Popen[bytes]:
            chosen = {"heartbeat_seconds": 0.2, "exit_when_idle_seconds": IDLE_SECONDS} | settings
            log = tmp_path / f"worker-{next(count)}.log"
            return running.enter_context(echo_worker(fresh_valkey_url, s3_settings, log, **chosen))

        yield start


@pytest.fixture
def reports(fresh_valkey_url: str) -> ReportLine:
    return connect_reports(fresh_valkey_url)


@pytest.fixture
def dispatcher(fresh_valkey_url: str) -> CeleryDispatcher:
    return CeleryDispatcher(celery_app(fresh_valkey_url))


def wait_for_workers(url: str, count: int) -> None:
    """Until so many announce themselves."""
    presence, deadline = connect_presence(url), time.monotonic() + DEADLINE_SECONDS
    while len(presence.live()) != count:
        assert time.monotonic() < deadline, f"{count} workers were to announce themselves"


def messages_left(url: str) -> int:
    """In the queue, or taken and not acknowledged."""
    with redis.Redis.from_url(url) as client:
        return int(client.llen(CHANNEL)) + int(client.hlen("unacked"))


def receive_until(reports: ReportLine, seen: list[StepReport], enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not enough():
        assert time.monotonic() < deadline, f"only {len(seen)} reports came"
        seen += reports.receive(0.5)


def ended(seen: list[StepReport]) -> set[str]:
    return {report.step_id for report in seen if isinstance(report, StepSucceeded)}


def test_while_steps_trickle_in_workers_leave_one_by_one_and_every_step_is_done(
    start: Start, reports: ReportLine, dispatcher: CeleryDispatcher, fresh_valkey_url: str
) -> None:
    rng, sent, seen = Random(0), [echo_message(f"trickle-{number}") for number in range(60)], list[StepReport]()
    workers = [start() for _ in range(6)]
    dispatcher.send(sent[0])
    receive_until(reports, seen, lambda: bool(ended(seen)))
    paced = threading.Event()
    for number, message in enumerate(sent[1:]):
        dispatcher.send(message)
        # Ever slower, so that each worker's next step comes when it is about to leave.
        paced.wait(rng.uniform(0.05, 0.1 + number / 60))
    assert any(worker.poll() == 0 for worker in workers), "nobody left while there was work"
    for worker in workers:
        assert worker.wait(DEADLINE_SECONDS) == 0
    late = messages_left(fresh_valkey_url)
    assert start().wait(DEADLINE_SECONDS) == 0
    while more := reports.receive(0.1):
        seen += more
    assert ended(seen) == {message.step_id for message in sent}, f"{late} were left to the last worker"
    assert messages_left(fresh_valkey_url) == 0
    assert len([report for report in seen if isinstance(report, StepStarted)]) == len(sent)
    assert connect_presence(fresh_valkey_url).live() == ()


def test_a_message_that_was_taken_in_the_moment_of_leaving_is_not_lost(
    start: Start, reports: ReportLine, dispatcher: CeleryDispatcher, fresh_valkey_url: str
) -> None:
    workers = [start(exit_when_idle_seconds=0) for _ in range(4)]
    wait_for_workers(fresh_valkey_url, 4)
    warm = [echo_message(f"warm-{number}") for number in range(8)]
    for message in warm:
        dispatcher.send(message)
    seen: list[StepReport] = []
    receive_until(reports, seen, lambda: len(ended(seen)) == len(warm))
    # Frozen while they ask for a message: the server hands it out and nobody reads it.
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    sent = [echo_message(f"leaving-{number}") for number in range(4)]
    for message in sent:
        dispatcher.send(message)
    popped = len(sent) - dispatcher.waiting(CHANNEL)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)  # what a worker sends to itself
        worker.send_signal(signal.SIGCONT)
    for worker in workers:
        assert worker.wait(DEADLINE_SECONDS) == 0
    assert popped > 0, "no worker was asking"
    assert start().wait(DEADLINE_SECONDS) == 0
    while more := reports.receive(0.1):
        seen += more
    assert ended(seen) == {message.step_id for message in (*warm, *sent)}
    assert messages_left(fresh_valkey_url) == 0


def test_a_step_longer_than_the_idle_time_is_finished_and_idleness_counts_from_its_end(
    start: Start, reports: ReportLine, dispatcher: CeleryDispatcher
) -> None:
    worker, sent = start(), echo_message("wait")
    dispatcher.send(sent)
    seen: list[StepReport] = []
    receive_until(reports, seen, lambda: any(isinstance(report, StepStarted) for report in seen))
    began = time.monotonic()
    receive_until(reports, seen, lambda: time.monotonic() > began + 3 * IDLE_SECONDS)
    assert worker.poll() is None
    assert any(isinstance(report, StepProgressed) for report in seen)
    asked_to_end = time.monotonic()
    reports.mark_cancelled(sent.step_id)
    receive_until(reports, seen, lambda: any(isinstance(report, StepFailed) for report in seen))
    assert worker.wait(DEADLINE_SECONDS) == 0
    assert time.monotonic() - asked_to_end >= IDLE_SECONDS


def test_by_default_a_worker_stays_however_idle_it_is(start: Start, fresh_valkey_url: str) -> None:
    patient, leaving = start(exit_when_idle_seconds=0), start()
    assert leaving.wait(DEADLINE_SECONDS) == 0
    with suppress(subprocess.TimeoutExpired):
        assert patient.wait(2 * IDLE_SECONDS) is None, "it left"
    wait_for_workers(fresh_valkey_url, 1)
