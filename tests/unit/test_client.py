"""The client against a server that is a function: what is sent, what is retried, what is raised."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.experiment_views import detail
from support.specs import DictLookup, spec
from touchstone import Client, ExperimentFailed, ProblemError
from touchstone.cli import app
from touchstone.documents import UnreadableDocument, parse_changes, read_document
from touchstone.tables import console_for_output, print_estimation
from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.views import Estimation, GpuHours, Prices, Workload
from typer.testing import CliRunner

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def client_of(answer: Answer) -> Client:
    return Client("http://touchstone.test", transport=httpx.MockTransport(answer))


def test_a_new_experiment_is_told_from_a_known_one() -> None:
    answers = iter([201, 200])
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(next(answers), json=detail("queued"))

    with client_of(answer) as client:
        assert [client.post(spec())[1], client.post(spec())[1]] == [True, False]
    assert bodies[0] == bodies[1] == spec().model_dump(mode="json")


def test_a_problem_names_the_fields_at_fault() -> None:
    problem = {
        "title": "Invalid request",
        "status": 422,
        "code": "invalid",
        "errors": [{"pointer": "/arms/1/kind", "detail": "unknown arm kind"}],
    }
    with (
        client_of(lambda _: httpx.Response(422, json=problem)) as client,
        pytest.raises(ProblemError, match="/arms/1/kind: unknown arm kind") as caught,
    ):
        client.post_document({})
    assert caught.value.problem.code == "invalid"


def test_an_answer_that_is_no_problem_document_is_still_a_problem() -> None:
    with (
        client_of(lambda _: httpx.Response(404, text="<html>proxy</html>")) as client,
        pytest.raises(ProblemError, match="Not Found: <html>proxy"),
    ):
        client.results("exp_1")


@pytest.mark.parametrize("first", [503, "connection"])
def test_a_busy_or_restarting_server_is_asked_again(first: int | str) -> None:
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if len(calls) > 2:
            return httpx.Response(201, json=detail("queued"))
        if first == "connection":
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(503, json={"title": "Temporarily unavailable", "status": 503, "code": "transient"})

    with client_of(answer) as client:
        client.post(spec())
    assert calls == ["POST"] * 3


def test_a_refusal_is_not_repeated() -> None:
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(409, json={"title": "Unfair", "status": 409, "code": "unfair"})

    with client_of(answer) as client, pytest.raises(ProblemError):
        client.post(spec())
    assert len(calls) == 1


def test_a_catalogue_is_registered_models_first() -> None:
    lookup, calls = DictLookup(), []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path)
        return httpx.Response(200 if request.url.path == "/v1/encoders" else 201, json={})

    catalogue = Catalogue(
        encoders=tuple(lookup.encoders.values()),
        generators=tuple(lookup.generators.values()),
        upstreams=tuple(lookup.upstreams.values()),
        targets=tuple(lookup.targets.values()),
        datasets=tuple(lookup.datasets.values()),
    )
    with client_of(answer) as client:
        assert client.apply(catalogue) == {"encoders": 0, "generators": 2, "upstreams": 1, "targets": 2, "datasets": 2}
    resources = [path.removeprefix("/v1/") for path in calls]
    assert resources == [
        "encoders",
        "generators",
        "generators",
        "upstreams",
        "targets",
        "targets",
        "datasets",
        "datasets",
    ]


def test_an_estimate_is_asked_for_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    hours = GpuHours(gpu="A100", generate=142.6, embed=1, adapt=2, evaluate=0, total=145.6, sources=("a page",))
    answered = Estimation(
        steps_by_kind={"generate_images": 12, "adapt_encoder": 3},
        reused_by_kind={"generate_images": 4},
        work=Workload(images_generated=500_000, updates=39_240),
        gpu_hours=(hours,),
        assumptions=("not a measurement",),
    )

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.url.path, json.loads(request.content)) == ("/v1/experiments/estimate", {"name": "quick"})
        return httpx.Response(200, json=answered.model_dump(mode="json"))

    with client_of(answer) as client:
        print_estimation(console_for_output(), client.estimate({"name": "quick"}))
    printed = capsys.readouterr().out
    assert "15 steps, 4 of them done already" in printed
    assert all(text in printed for text in ("500,000", "39,240", "142.6", "not a measurement"))


def test_what_is_left_out_is_not_asked_for() -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path.removeprefix("/v1/experiments/exp_1/"), dict(request.url.params)))
        return httpx.Response(404, json={"title": "Not found", "status": 404, "code": "not_found"})

    with client_of(answer) as client:
        for call in (
            lambda: client.classes("exp_1", "made", 60),
            lambda: client.classes("exp_1", "made", 0, metric="linear_probe", target="fine", test_set="sketches"),
            lambda: client.arm_curation("exp_1", "made"),
            lambda: client.arm_links("exp_1", "found", "fine"),
            lambda: client.verdict("exp_1"),
            lambda: client.verdict("exp_1", prices=Prices(cpu_hour=0)),
            lambda: client.scaling("exp_1"),
        ):
            with pytest.raises(ProblemError):
                call()
    assert asked == [
        ("classes", {"arm": "made", "size": "60", "test_set": "test"}),
        ("classes", {"arm": "made", "size": "0", "metric": "linear_probe", "target": "fine", "test_set": "sketches"}),
        ("arms/made", {}),
        ("arms/found/links", {"target": "fine"}),
        ("verdict", {}),
        ("verdict", {"cpu_hour": "0.0"}),
        ("scaling", {}),
    ]


def test_waiting_follows_the_stream_and_survives_its_break() -> None:
    phases = iter(["running", "running", "succeeded"])
    seen_after: list[str | None] = []

    def stream(broken: bool) -> Iterator[bytes]:
        data = json.dumps({"id": 7, "event": "step.started", "at": "2026-01-01T00:00:00Z", "data": {}})
        yield f"id: 7\nevent: step.started\ndata: {data}\n\n".encode()
        if broken:
            raise httpx.ReadError("connection reset")

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=detail(next(phases)))
        seen_after.append(request.headers.get("Last-Event-ID"))
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, content=stream(broken=len(seen_after) == 1))

    watched: list[str] = []
    with client_of(answer) as client:
        end = client.wait("exp_1", watcher=lambda each: watched.append(each.phase), interval=0.5)
    assert end.phase == "succeeded"
    assert watched == ["running", "running", "succeeded"]
    assert seen_after == [None, "7"]


def test_waiting_for_a_failed_experiment_raises_its_problem() -> None:
    failed = detail("failed") | {"problems": [{"title": "Invalid", "code": "diverged", "detail": "loss is NaN"}]}
    with (
        client_of(lambda _: httpx.Response(200, json=failed)) as client,
        pytest.raises(ExperimentFailed, match="exp_1 failed: Invalid: loss is NaN"),
    ):
        client.wait("exp_1")


def test_the_list_follows_every_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("cursor")
        following = {None: "a", "a": "b", "b": None}[cursor]
        return httpx.Response(200, json={"items": [detail()], "next_cursor": following})

    with client_of(answer) as client:
        assert len(list(client.experiments())) == 3


def test_steps_are_those_of_an_experiment_or_of_an_upstream() -> None:
    asked: list[tuple[str, str, dict[str, str]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, dict(request.url.params)))
        last = "cursor" in request.url.params
        return httpx.Response(200, json={"items": [], "next_cursor": None if last else "b"})

    with client_of(answer) as client:
        assert list(client.steps("exp_1", state="failed")) == []
        assert list(client.steps("upstream/world", prefix="ab")) == []
        for call in (client.step, client.retry_step):
            with pytest.raises(ValueError, match="StepDetail"):
                call("upstream/world", "ab")
    assert asked == [
        ("GET", "/v1/experiments/exp_1/steps", {"state": "failed"}),
        ("GET", "/v1/experiments/exp_1/steps", {"state": "failed", "cursor": "b"}),
        ("GET", "/v1/upstreams/world/steps", {"prefix": "ab"}),
        ("GET", "/v1/upstreams/world/steps", {"prefix": "ab", "cursor": "b"}),
        ("GET", "/v1/upstreams/world/steps/ab", {}),
        ("POST", "/v1/upstreams/world/steps/ab/retry", {}),
    ]


def test_assignments_become_one_document_of_changes() -> None:
    changes = parse_changes(["sizes=[8, 16]", "curation.ranking=score", "curation.per_class_cap=null"])
    assert changes == {"sizes": [8, 16], "curation": {"ranking": "score", "per_class_cap": None}}
    with pytest.raises(UnreadableDocument, match="field=value"):
        parse_changes(["sizes"])


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1,\n", "\x00"])
def test_a_file_that_is_no_study_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UnreadableDocument, match=r"study\.yaml"):
        read_document(path)


@pytest.mark.parametrize("arguments", [["report", "exp_1"], ["classes", "exp_1", "retrieved"]])
def test_a_metric_that_is_not_known_is_refused_before_anything_is_fetched(arguments: list[str]) -> None:
    told = CliRunner().invoke(app, [*arguments, "--metric", "nearest_mean"])
    assert told.exit_code == 2
    assert all(name in told.output for name in METRICS)
