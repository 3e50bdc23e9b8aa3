"""Celery on a real Valkey with a worker in its own process: what is sent is run once, and nothing stops the worker."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from support.echo_steps import CHANNEL, echo_message, echo_worker
from support.waiting import until
from touchstone_contracts.messages import StepFailed, StepMessage, StepReport, StepStarted, StepSucceeded
from touchstone_contracts.problems import Transient
from touchstone_contracts.steps import WRITE_PROMPTS
from touchstone_runtime.alive import is_alive
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.metrics import new_registry, start_metrics_server
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.queue import TASK_PREFIX, CeleryDispatcher, celery_app
from touchstone_runtime.reports import ReportLine, connect_reports
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import free_ports

DEADLINE_SECONDS = 60


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def worker(
    valkey_url: str,
    s3_settings: RuntimeSettings,
    s3_objects: S3Objects,
    metrics_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[subprocess.Popen[bytes]]:
    log = tmp_path_factory.mktemp("worker") / "log"
    with echo_worker(valkey_url, s3_settings, log, metrics_port=metrics_port, heartbeat_seconds=0.2) as process:
        yield process


@pytest.fixture
def reports(valkey_url: str) -> ReportLine:
    """The report line, emptied."""
    line = connect_reports(valkey_url)
    while line.receive(0.01):
        pass
    return line


@pytest.fixture
def app(valkey_url: str) -> Celery:
    return celery_app(valkey_url)


def begin(app: Celery, line: ReportLine, message: StepMessage) -> None:
    """Sends the step and waits until a worker has begun it."""
    CeleryDispatcher(app).send(message)
    deadline, seen = time.monotonic() + DEADLINE_SECONDS, list[StepReport]()
    while time.monotonic() < deadline:
        seen += line.receive(1.0)
        if any(isinstance(report, StepStarted) for report in seen):
            return
    raise AssertionError(f"step {message.step_id} was never begun; reports: {seen}")


def outcome(line: ReportLine, step: str, seen: list[StepReport] | None = None) -> StepSucceeded | StepFailed:
    """Waits for the report that ends `step`; every report of it on the way goes to `seen`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for report in line.receive(1.0):
            if report.step_id == step and seen is not None:
                seen.append(report)
            if report.step_id == step and isinstance(report, StepSucceeded | StepFailed):
                return report
    raise AssertionError(f"no end of step {step} was reported")


@pytest.mark.usefixtures("worker")
def test_a_sent_step_is_run_and_its_result_lies_in_the_object_store(
    app: Celery, reports: ReportLine, artifacts_on_s3: Artifacts
) -> None:
    sent, seen = echo_message("write"), list[StepReport]()
    CeleryDispatcher(app).send(sent)
    ended = outcome(reports, sent.step_id, seen)
    assert isinstance(ended, StepSucceeded)
    assert not ended.found
    assert isinstance(seen[0], StepStarted)
    result = artifacts_on_s3.result(WRITE_PROMPTS, sent.step_id)
    assert artifacts_on_s3.get_blob(result.prompts) == sent.request["templates"][0].encode()


@pytest.mark.usefixtures("worker")
def test_a_step_that_was_run_before_is_found_not_run_again(app: Celery, reports: ReportLine) -> None:
    sent = echo_message("once")
    CeleryDispatcher(app).send(sent)
    assert not getattr(outcome(reports, sent.step_id), "found", True)
    seen: list[StepReport] = []
    CeleryDispatcher(app).send(sent.model_copy(update={"attempt": 2}))
    again = outcome(reports, sent.step_id, seen)
    assert isinstance(again, StepSucceeded)
    assert again.found
    assert again.attempt == 2
    assert len(seen) == 1


@pytest.mark.usefixtures("worker")
def test_a_poison_message_is_dropped_and_the_worker_goes_on(app: Celery, reports: ReportLine) -> None:
    for poison in ({"message": {"kind": 7}}, {"message": "nonsense"}, {"other": 1}):
        app.send_task(TASK_PREFIX + WRITE_PROMPTS.name, kwargs=poison, queue=CHANNEL)
    app.send_task("touchstone.no_such_kind", kwargs={"message": {}}, queue=CHANNEL)
    healthy = echo_message("after-poison")
    CeleryDispatcher(app).send(healthy)
    assert isinstance(outcome(reports, healthy.step_id), StepSucceeded)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("wish", "changes", "code", "retryable"),
    [
        ("break", {}, "bug", False),
        ("retry", {}, "on_purpose", True),
        ("forged", {"step_id": "0" * 64}, "identity_mismatch", False),
        ("mangled", {"request": {"classes": []}}, "malformed_request", False),
    ],
)
def test_a_failure_is_reported_with_its_reason(
    app: Celery, reports: ReportLine, wish: str, changes: dict[str, object], code: str, retryable: bool
) -> None:
    sent = echo_message(wish, **changes)
    CeleryDispatcher(app).send(sent)
    ended = outcome(reports, sent.step_id)
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, ended.retryable) == (code, retryable)
    assert "step.failed" in ended.log_tail


@pytest.mark.usefixtures("worker")
def test_a_cancelled_step_stops_at_its_next_progress(app: Celery, reports: ReportLine) -> None:
    sent = echo_message("wait")
    begin(app, reports, sent)
    reports.mark_cancelled(sent.step_id)
    seen: list[StepReport] = []
    ended = outcome(reports, sent.step_id, seen)
    reports.note_attempt(sent.step_id, 1)
    assert isinstance(ended, StepFailed)
    assert ended.problem.code == "cancelled"
    assert not ended.retryable
    assert any(report.event == "progressed" for report in seen)


@pytest.mark.usefixtures("worker")
def test_an_attempt_stops_at_its_next_progress_once_another_is_handed_out(app: Celery, reports: ReportLine) -> None:
    sent = echo_message("linger")
    begin(app, reports, sent)
    reports.note_attempt(sent.step_id, 2)
    stopped = outcome(reports, sent.step_id)
    assert isinstance(stopped, StepFailed)
    assert stopped.problem.code == "cancelled"
    CeleryDispatcher(app).send(sent.model_copy(update={"attempt": 2}))
    ended = outcome(reports, sent.step_id)
    assert isinstance(ended, StepSucceeded)
    assert ended.attempt == 2


@pytest.mark.usefixtures("worker")
def test_a_message_that_comes_back_after_another_was_handed_out_is_dropped(app: Celery, reports: ReportLine) -> None:
    sent = echo_message("returned")
    reports.note_attempt(sent.step_id, 2)
    CeleryDispatcher(app).send(sent)
    seen: list[StepReport] = []
    ended = outcome(reports, sent.step_id, seen)
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, [report.event for report in seen]) == ("cancelled", ["failed"])


@pytest.fixture
def another_valkey_url(valkey_url: str) -> str:
    """Another database of the same server, where the worker of the other tests takes nothing."""
    return f"{valkey_url.rpartition('/')[0]}/7"


@pytest.mark.parametrize(("wish", "code"), [("stall", 70), ("wait", None)])
def test_a_worker_ends_when_nothing_moves_and_never_for_the_length_of_a_step(
    another_valkey_url: str,
    s3_settings: RuntimeSettings,
    s3_objects: S3Objects,
    tmp_path: Path,
    wish: str,
    code: int | None,
) -> None:
    line = connect_reports(another_valkey_url)
    with echo_worker(
        another_valkey_url, s3_settings, tmp_path / "log", heartbeat_seconds=0.1, stall_seconds=0.5
    ) as process:
        sent = echo_message(wish)
        CeleryDispatcher(celery_app(another_valkey_url)).send(sent)
        if code is not None:
            assert process.wait(DEADLINE_SECONDS) == code
            return
        # Four times as long as it may stand still.
        started = until(lambda: [report for report in line.receive(1) if report.event == "started"], DEADLINE_SECONDS)
        assert started
        end = time.monotonic() + 2
        until(lambda: line.receive(0.5) and time.monotonic() > end, DEADLINE_SECONDS)
        assert process.poll() is None


def test_a_worker_answers_for_its_health_and_counts_its_steps(
    worker: subprocess.Popen[bytes], app: Celery, reports: ReportLine, metrics_port: int
) -> None:
    sent = echo_message("counted")
    CeleryDispatcher(app).send(sent)
    outcome(reports, sent.step_id)
    assert worker.poll() is None
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/healthz", timeout=5) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=5) as answer:
        assert 'touchstone_steps_total{kind="write_prompts",outcome="computed"}' in answer.read().decode()


def test_the_health_check_asks_the_process_itself() -> None:
    alive = True
    server = start_metrics_server(new_registry(), "127.0.0.1", 0, lambda: alive)
    assert is_alive(server.server_port)
    alive = False
    assert not is_alive(server.server_port)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/healthz", timeout=5)
    server.shutdown()


def test_reports_arrive_in_order_and_unreadable_ones_are_dropped(valkey_url: str, reports: ReportLine) -> None:
    import redis

    step = "a" * 64
    reports.send(StepStarted(step_id=step, attempt=1, worker="w"))
    redis.Redis.from_url(valkey_url).rpush("touchstone:reports", b"not json", b'{"event": "invented"}')
    reports.send(StepSucceeded(step_id=step, attempt=1))
    received = [report for report in reports.receive(1.0) if report.step_id == step]
    assert [report.event for report in received] == ["started", "succeeded"]


def test_without_a_broker_sending_and_reporting_are_transient_failures() -> None:
    nowhere = "redis://127.0.0.1:9/0"
    with pytest.raises(Transient):
        CeleryDispatcher(celery_app(nowhere)).send(echo_message("lost"))
    with pytest.raises(Transient):
        connect_reports(nowhere).send(StepStarted(step_id="a" * 64, attempt=1, worker="w"))
