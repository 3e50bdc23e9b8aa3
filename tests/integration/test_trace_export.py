"""Spans over OTLP/HTTP: they reach a collector, also when a process ends, and a dead collector hinders nobody."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from support.echo_steps import echo_message
from support.leaks import require_no_leak, secrets_of
from support.trace_collector import silent_collector, trace_collector
from touchstone_contracts.messages import StepMessage, StepSucceeded
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.opentelemetry_traces import CLOSE_SECONDS, export_traces
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.reports import ReportLine, connect_reports
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import end, free_ports

TESTS = Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = 60
TRACE, HAND_OUT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DEAD = ("silent", "refusing")


@contextmanager
def worker(collector: str, redis_url: str, settings: RuntimeSettings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {
        "PYTHONPATH": str(TESTS),
        "TOUCHSTONE_REDIS_URL": redis_url,
        "TOUCHSTONE_S3_ENDPOINT": settings.s3_endpoint,
        "TOUCHSTONE_S3_ACCESS_KEY": settings.s3_access_key,
        "TOUCHSTONE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "TOUCHSTONE_S3_BUCKET": settings.s3_bucket,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
    }
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "support.echo_worker"]
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            end(process)
    secrets = secrets_of(settings.model_copy(update={"redis_url": SecretStr(redis_url)}))
    assert require_no_leak({log.name: log.read_bytes()}, secrets) > 0


def message(text: str) -> StepMessage:
    return echo_message(text, traceparent=f"00-{TRACE}-{HAND_OUT}-01")


def wait_until_done(line: ReportLine, *messages: StepMessage) -> None:
    """Until every one of them has succeeded."""
    missing, deadline = {message.step_id for message in messages}, time.monotonic() + DEADLINE_SECONDS
    while missing and time.monotonic() < deadline:
        missing -= {report.step_id for report in line.receive(1.0) if isinstance(report, StepSucceeded)}
    assert not missing, f"{len(missing)} of {len(messages)} steps did not succeed"


@pytest.fixture
def dead_collector(request: pytest.FixtureRequest) -> Iterator[str]:
    """`silent`: takes connections and never answers; `refusing`: nobody listens."""
    if request.param == "silent":
        with silent_collector() as url:
            yield url
    else:
        yield f"http://127.0.0.1:{free_ports(1)[0]}"


def test_a_step_sent_over_the_queue_belongs_to_the_trace_of_its_message(
    fresh_valkey_url: str, s3_settings: RuntimeSettings, s3_objects: S3Objects, tmp_path: Path
) -> None:
    line, sent = connect_reports(fresh_valkey_url), message("traced")
    with (
        trace_collector() as collector,
        worker(collector.url, fresh_valkey_url, s3_settings, tmp_path / "log") as process,
    ):
        CeleryDispatcher(celery_app(fresh_valkey_url)).send(sent)
        wait_until_done(line, sent)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        service, span = collector.wait_for("step write_prompts", timeout=5)
    assert service == "touchstone-generator"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, HAND_OUT)
    assert {each.key for each in span.attributes} >= {"touchstone.step", "touchstone.store_seconds"}


@pytest.mark.parametrize("dead_collector", DEAD, indirect=True)
def test_a_dead_collector_neither_blocks_nor_fails_a_step(
    dead_collector: str, fresh_valkey_url: str, s3_settings: RuntimeSettings, s3_objects: S3Objects, tmp_path: Path
) -> None:
    line, dispatcher = connect_reports(fresh_valkey_url), CeleryDispatcher(celery_app(fresh_valkey_url))
    with worker(dead_collector, fresh_valkey_url, s3_settings, tmp_path / "log") as process:
        first = message("untraced warm-up")
        dispatcher.send(first)
        wait_until_done(line, first)
        began = time.monotonic()
        steps = [message(f"untraced {number} of {dead_collector}") for number in range(20)]
        for step in steps:
            dispatcher.send(step)
        wait_until_done(line, *steps)
        # The exporter waits ten seconds for an answer: a step that waited for it would take as long.
        assert time.monotonic() - began < 30
        assert process.poll() is None
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        # The SDK by itself would wait for half a minute.
        assert time.monotonic() - asked < CLOSE_SECONDS + 12


@pytest.mark.parametrize("dead_collector", DEAD, indirect=True)
def test_spans_cost_little_and_closing_is_bounded_when_nobody_takes_them(
    dead_collector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", dead_collector)
    traces = export_traces("test")
    began = time.monotonic()
    for number in range(5000):
        with traces.span("work", number=number):
            pass
    assert time.monotonic() - began < 5
    asked = time.monotonic()
    traces.close()
    assert time.monotonic() - asked < CLOSE_SECONDS + 1


def test_the_standard_variables_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with trace_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "another-name")
        traces = export_traces("touchstone-api")
        with traces.span("work") as span:
            assert span.traceparent is not None
        traces.close()
        service, _ = collector.wait_for("work", timeout=5)
    assert service == "another-name"
