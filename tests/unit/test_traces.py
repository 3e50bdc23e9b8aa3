"""One experiment is one trace, from the request over the conductor to every worker; and nothing of it when off."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from support.memory_services import register_everything
from support.specs import spec
from support.traced_system import TracedSystem
from touchstone_api.settings import ApiSettings
from touchstone_contracts.steps import CATALOGUE
from touchstone_runtime.tracing import NO_TRACES, connect_traces

BODY = spec().model_dump(mode="json")
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def run_experiment(system: TracedSystem, headers: dict[str, str] | None = None) -> list[ReadableSpan]:
    """Posts it once the upstream is ready, as people do, and runs it to its end. Its spans."""
    with system.client() as client:
        register_everything(client)
        system.work_all()
        system.exporter.clear()
        posted = client.post("/v1/experiments", json=BODY, headers=headers or {}).json()
        spans_of_post = system.spans()
        system.work_all()
        assert client.get(f"/v1/experiments/{posted['id']}").json()["phase"] == "succeeded"
    during_work = [span for span in system.spans() if not span.name.startswith("GET ")]
    assert during_work[: len(spans_of_post)] == spans_of_post
    return during_work


def service(span: ReadableSpan) -> str:
    return str(span.resource.attributes["service.name"])


def parents(spans: list[ReadableSpan]) -> dict[str, ReadableSpan | None]:
    """By the id of the child; every span that was told."""
    by_id = {span.context.span_id: span for span in spans}
    return {f"{span.context.span_id:016x}": by_id.get(span.parent.span_id) if span.parent else None for span in spans}


def test_an_experiment_is_one_trace_with_a_span_for_each_hand_out_and_each_step(tmp_path: Path) -> None:
    system = TracedSystem(tmp_path)
    spans = run_experiment(system)
    sent = [message for message in system.broker.sent if message.traceparent]
    assert len({span.context.trace_id for span in spans}) == 1
    names = Counter(span.name for span in spans)
    kinds = Counter(name.removeprefix("step ") for name in names.elements() if name.startswith("step "))
    assert names["POST /v1/experiments"] == names["plan experiment"] == 1
    assert sum(kinds.values()) > 20
    assert {f"hand out {kind}": count for kind, count in kinds.items()} == {
        name: count for name, count in names.items() if name.startswith("hand out ")
    }
    assert set(kinds) >= {"retrieve_images", "generate_images", "curate_images", "adapt_encoder", "evaluate_encoder"}
    assert len(spans) == 2 + 2 * sum(kinds.values())
    assert len(sent) >= sum(kinds.values())


def test_each_span_names_the_one_that_caused_it_as_its_parent(tmp_path: Path) -> None:
    spans = run_experiment(TracedSystem(tmp_path))
    parent_of, seen = parents(spans), Counter[str]()
    for span in spans:
        parent = parent_of[f"{span.context.span_id:016x}"]
        if span.name.startswith("step "):
            seen["step"] += 1
            assert parent is not None
            assert parent.name == span.name.replace("step", "hand out")
            assert parent.attributes is not None
            assert span.attributes is not None
            assert parent.attributes["touchstone.step"] == span.attributes["touchstone.step"]
            assert (service(parent), service(span)) == ("conductor", CATALOGUE[span.name.split()[1]].queue)
        elif span.name.startswith("hand out "):
            seen["hand out"] += 1
            assert parent is not None
            assert (parent.name, service(parent)) == ("plan experiment", "api")
        elif span.name == "plan experiment":
            seen["plan"] += 1
            assert parent is not None
            assert parent.name == "POST /v1/experiments"
        else:
            seen["request"] += 1
            assert parent is None
    assert (seen["plan"], seen["request"]) == (1, 1)
    assert seen["step"] == seen["hand out"] > 20


def test_the_span_of_a_step_tells_its_phases_its_worker_and_its_outcome(tmp_path: Path) -> None:
    steps = [span for span in run_experiment(TracedSystem(tmp_path)) if span.name.startswith("step ")]
    assert len(steps) > 20
    for span in steps:
        facts = dict(span.attributes or {})
        assert facts["touchstone.outcome"] == "computed"
        assert facts["touchstone.attempt"] == 1
        assert str(facts["touchstone.worker"]).endswith("@test")
        assert {name for name in facts if name.endswith("_seconds")} == {
            "touchstone.load_seconds",
            "touchstone.compute_seconds",
            "touchstone.store_seconds",
        }


def test_a_failed_attempt_is_a_failed_span_and_the_next_one_is_in_the_same_trace(tmp_path: Path) -> None:
    spans = run_experiment(TracedSystem(tmp_path, stumbling=frozenset({"retrieve_images"})))
    attempts = [span for span in spans if span.name == "step retrieve_images"]
    failed = [span for span in attempts if span.status.status_code is StatusCode.ERROR]
    assert [span.status.description for span in failed] == ["on_purpose"]
    assert failed[0].attributes is not None
    step = failed[0].attributes["touchstone.step"]
    again = [span for span in attempts if span.attributes is not None and span.attributes["touchstone.step"] == step]
    assert [dict(span.attributes or {})["touchstone.attempt"] for span in again] == [1, 2]
    assert len({span.context.trace_id for span in spans}) == 1
    assert len({span.parent.span_id for span in again if span.parent}) == 2, "each attempt has its hand-out"


def test_the_trace_of_the_caller_goes_on(tmp_path: Path) -> None:
    spans = run_experiment(TracedSystem(tmp_path), {"traceparent": CALLER})
    assert {f"{span.context.trace_id:032x}" for span in spans} == {CALLER.split("-")[1]}
    [request] = [span for span in spans if span.name == "POST /v1/experiments"]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]


def test_probes_and_scrapes_are_not_traced(tmp_path: Path) -> None:
    system = TracedSystem(tmp_path)
    with system.client() as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            client.get(path)
        assert system.spans() == []
        client.get("/v1/experiments")
    assert [span.name for span in system.spans()] == ["GET /v1/experiments"]


def test_a_context_that_makes_no_sense_begins_a_trace_of_its_own(tmp_path: Path) -> None:
    system = TracedSystem(tmp_path)
    with system.client() as client:
        register_everything(client)
        assert system.conductor.cycle(0)
        message = system.broker.take().model_copy(update={"traceparent": "00-nonsense"})
        system.exporter.clear()
        system.workers[CATALOGUE[message.kind].queue].run(message)
        [span] = system.spans()
    assert span.parent is None
    assert span.status.status_code is not StatusCode.ERROR


def test_without_traces_messages_and_plans_carry_no_context(tmp_path: Path) -> None:
    system = TracedSystem(tmp_path, on=False)
    assert run_experiment(system, {"traceparent": CALLER}) == []
    assert len(system.broker.sent) > 20
    assert {message.traceparent for message in system.broker.sent} == {None}


def test_the_context_goes_through_a_conductor_that_does_not_trace(tmp_path: Path) -> None:
    system = TracedSystem(tmp_path)
    system.conductor.traces = NO_TRACES
    spans = run_experiment(system)
    assert len({span.context.trace_id for span in spans}) == 1
    parent_of = parents(spans)
    steps = [span for span in spans if span.name.startswith("step ")]
    found = [parent_of[f"{span.context.span_id:016x}"] for span in steps]
    assert len(found) > 20
    assert {parent.name for parent in found if parent} == {"plan experiment"}


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"TOUCHSTONE_TRACES": "true"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "TOUCHSTONE_TRACES": "false"}, False),
    ],
    ids=lambda value: str(value),
)
def test_traces_are_on_when_asked_for_or_when_a_collector_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], on: bool
) -> None:
    for name in [name for name in os.environ if name.startswith(("OTEL_", "TOUCHSTONE_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ApiSettings().traces is on


def test_off_imports_nothing_that_records_or_sends_spans() -> None:
    # redis-py imports the SDK's metrics wherever they are installed, so only these two are asked for.
    code = (
        "import sys\n"
        "import touchstone_api.main, touchstone_conductor.__main__, touchstone_runtime.bootstrap\n"
        "from touchstone_runtime.settings import RuntimeSettings\n"
        "from touchstone_runtime.tracing import NO_TRACES, connect_traces\n"
        "assert connect_traces('api', RuntimeSettings(traces=False)) is NO_TRACES\n"
        "unwanted = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(unwanted)])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


def test_a_span_of_no_traces_has_no_context() -> None:
    traces = connect_traces("worker", ApiSettings(traces=False))
    with traces.span("anything", parent=CALLER, step="s") as span:
        span.tell(fact=1)
        span.fail("code")
    assert span.traceparent is None
    traces.close()
