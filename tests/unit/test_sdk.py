"""The SDK against a server that is a function: errors, retries, idempotency keys, documents and what is shown."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import touchstone
import yaml
from support.experiment_views import detail
from support.specs import DictLookup, spec
from touchstone import plain_words
from touchstone.api import Api
from touchstone.documents import spec_document
from touchstone.names import chosen
from touchstone.problems import BY_STATUS, describe, retry_after
from touchstone.progress import showing_progress_here
from touchstone_contracts.problems import FieldError, Problem

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds for which the client would have paused."""
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


def client_of(answer: Answer) -> touchstone.Client:
    return touchstone.Client("http://touchstone.test", key="k", transport=httpx.MockTransport(answer))


def refusal(status: int, **headers: str) -> Answer:
    problem = {"title": "No", "status": status, "code": "no", "detail": "the reason", "request_id": "r-1"}
    return lambda _: httpx.Response(status, json=problem, headers=headers)


KINDS = {
    400: touchstone.InvalidRequest, 401: touchstone.Unauthorized, 403: touchstone.Forbidden, 404: touchstone.NotFound,
    405: touchstone.InvalidRequest, 409: touchstone.Conflict, 412: touchstone.Conflict, 413: touchstone.InvalidRequest,
    415: touchstone.InvalidRequest, 422: touchstone.InvalidRequest, 429: touchstone.TooManyRequests,
    500: touchstone.ServerFailed, 501: touchstone.ServerFailed, 599: touchstone.ServerFailed,
}  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_every_status_has_its_error_which_says_what_to_do(
    status: int, kind: type[touchstone.ProblemError], pauses: list[float]
) -> None:
    with client_of(refusal(status)) as client, pytest.raises(touchstone.ProblemError) as caught:
        client.storage()
    assert type(caught.value) is kind
    assert isinstance(caught.value, touchstone.TouchstoneError)
    assert "the reason" in str(caught.value)
    assert caught.value.remedy in str(caught.value)
    assert caught.value.problem.status == status
    assert ("request_id r-1" in str(caught.value)) == (status >= 500)


def test_a_status_of_its_own_has_an_error_of_its_own() -> None:
    assert len(BY_STATUS) >= 10
    assert set(BY_STATUS) <= set(KINDS)


def test_a_page_of_a_proxy_with_an_unknown_status_is_a_problem_too(pauses: list[float]) -> None:
    with (
        client_of(lambda _: httpx.Response(520, text="<html>")) as client,
        pytest.raises(touchstone.ServerFailed, match="HTTP 520: <html>"),
    ):
        client.storage()


def test_a_server_that_is_away_is_told_with_what_to_do(pauses: list[float]) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with client_of(away) as client, pytest.raises(touchstone.Unreachable, match="refused") as caught:
        client.storage()
    assert isinstance(caught.value, httpx.TransportError)
    assert "make up" in str(caught.value)
    assert len(pauses) == 6
    assert all(pause <= 0.25 * 2**attempt for attempt, pause in enumerate(pauses, start=1))
    assert len(set(pauses)) > 1, "pauses have jitter"


def test_the_pause_that_the_server_asks_for_is_kept(pauses: list[float]) -> None:
    answers = iter([429, 503, 200])

    def answer(request: httpx.Request) -> httpx.Response:
        status = next(answers)
        if status == 200:
            return httpx.Response(200, json={"total": 1, "quota": None, "largest": []})
        return httpx.Response(status, headers={"Retry-After": "17"})

    with client_of(answer) as client:
        assert client.storage().total == 1
    assert pauses == [17, 17]


def test_after_the_last_try_the_error_holds_the_pause(pauses: list[float]) -> None:
    with client_of(refusal(429, **{"Retry-After": "9"})) as client, pytest.raises(touchstone.TooManyRequests) as caught:
        client.storage()
    assert (caught.value.retry_after, len(pauses)) == (9.0, 6)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("7", 7.0), ("soon", None), ("-1", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("", None)],
)
def test_either_form_of_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


CREATING: dict[str, Callable[[touchstone.Client], object]] = {
    "post": lambda client: client.post(spec()),
    "run": lambda client: client.run(spec()),
    "clone": lambda client: client.clone("exp_1", {}),
    "register": lambda client: client.register("encoders", _encoder()),
}


def _encoder() -> Any:
    return next(iter(DictLookup().encoders.values()))


@pytest.mark.parametrize("name", CREATING)
def test_what_creates_something_carries_one_idempotency_key_through_its_tries(name: str, pauses: list[float]) -> None:
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        raise httpx.ReadTimeout("lost", request=request)

    with client_of(answer) as client:
        for _ in range(2):
            with pytest.raises(touchstone.Unreachable):
                CREATING[name](client)
    assert len(keys) == 14
    assert (len(set(keys[:7])), len(set(keys[7:])), len(set(keys))) == (1, 1, 2)


ONCE: dict[str, Callable[[touchstone.Client], object]] = {
    "create_key": lambda client: client.create_key("a"),
    "retry": lambda client: client.retry("exp_1"),
    "retry_step": lambda client: client.retry_step("exp_1", "ab"),
}


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize(("error", "tries"), [(httpx.ReadTimeout, 1), (httpx.ConnectError, 7)])
def test_what_must_not_happen_twice_is_sent_again_only_where_it_never_arrived(
    name: str, error: type[httpx.TransportError], tries: int, pauses: list[float]
) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        raise error("lost", request=request)

    with client_of(answer) as client, pytest.raises(touchstone.Unreachable):
        ONCE[name](client)
    assert len(sent) == tries


def test_an_answer_of_another_release_is_told_without_validators_words() -> None:
    with (
        client_of(lambda _: httpx.Response(200, json={"pages": 1})) as client,
        pytest.raises(touchstone.TouchstoneError, match=r"is not a Storage as this client knows it") as caught,
    ):
        client.storage()
    assert "validation error" not in str(caught.value)


def test_every_call_has_a_docstring_with_an_example() -> None:
    calls = {name: each for name, each in vars(Api).items() if not name.startswith("_")}
    assert len(calls) >= 40
    assert [name for name, each in calls.items() if ">>> " not in (each.__doc__ or "")] == []
    shown = [touchstone.Client, touchstone.AsyncClient, touchstone.Experiment, touchstone.Results, touchstone.Verdict]
    own = {
        f"{kind.__name__}.{name}": each
        for kind in shown
        for name, each in vars(kind).items()
        if not name.startswith("_") and (callable(each) or isinstance(each, property))
    }
    plain = {"close", "send", "send_pages", "metrics"}
    assert len(own) >= 30
    assert [n for n, each in own.items() if n.split(".")[1] not in plain and ">>> " not in (each.__doc__ or "")] == []


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert len(methods(touchstone.Client)) >= 50
    assert methods(touchstone.Client) - methods(touchstone.AsyncClient) == {"require_answer"}
    assert methods(touchstone.AsyncClient) <= methods(touchstone.Client)
    described = {name for name in vars(touchstone.Experiment) if not name.startswith("_")}
    assert described == {name for name in vars(touchstone.AsyncExperiment) if not name.startswith("_")}


def test_a_study_is_a_spec_a_dictionary_text_or_a_file(tmp_path: Path) -> None:
    document = spec().model_dump(mode="json")
    text = yaml.safe_dump(document)
    (tmp_path / "study.yaml").write_text(text)
    forms = (spec(), document, text, tmp_path / "study.yaml", str(tmp_path / "study.yaml"), tmp_path, str(tmp_path))
    assert [spec_document(form) == document for form in forms] == [True] * 7


@pytest.mark.parametrize("study", ["nowhere.yaml", Path("nowhere.yaml"), "a: [1\n", "- a\n- b\n"])
def test_what_is_no_study_is_refused_before_anything_is_sent(study: str | Path) -> None:
    with client_of(lambda _: httpx.Response(500)) as client, pytest.raises(touchstone.UnreadableDocument):
        client.run(study)


def test_a_detail_that_repeats_its_first_field_is_said_once() -> None:
    errors = (FieldError(pointer="/foo", detail="Extra inputs are not permitted"),)
    problem = Problem(
        title="Invalid request", code="invalid", detail="/foo: Extra inputs are not permitted", errors=errors
    )
    assert describe(problem) == "Invalid request: /foo: there is no such field"
    several = (*errors, FieldError(pointer="/sizess", detail="Extra inputs are not permitted"))
    longer = problem.model_copy(update={"errors": several, "detail": f"{problem.detail} (and 1 more)"})
    assert describe(longer) == (
        "Invalid request: /foo: there is no such field; /sizess: there is no such field; did you mean 'sizes'?"
    )
    other = problem.model_copy(update={"detail": "another thing"})
    assert describe(other) == "Invalid request: another thing: /foo: there is no such field"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Field required", "this field is required"),
        ("Input should be less than or equal to 1", "must be less than or equal to 1"),
        ("String should have at most 3 characters", "must have at most 3 characters"),
        ("Input should be a valid tuple", "must be a list"),
        ("Value error, a and b are one arm", "a and b are one arm"),
        ("Input tag 'x' found using 'kind' does not match any of the expected tags: 'a'", "'x' is not one of 'a'"),
        ("any words of the server", "any words of the server"),
    ],
)  # fmt: skip
def test_validators_words_become_plain_words(message: str, said: str) -> None:
    assert plain_words.about_field(message, "field") == said


@pytest.mark.parametrize(
    ("typed", "found"), [("exp_ab", "exp_abc"), ("exp_abc", "exp_abc"), ("other", "exp_xyz"), ("exp_x", "exp_xyz")]
)
def test_an_experiment_is_found_by_name_or_the_beginning_of_its_id(typed: str, found: str) -> None:
    assert chosen(typed, [("exp_abc", "quick"), ("exp_xyz", "other")]) == found


@pytest.mark.parametrize(("typed", "said"), [("exp_", "2 experiments are called 'exp_'"), ("quik", "did you mean")])
def test_a_name_that_is_not_one_experiments_is_refused(typed: str, said: str) -> None:
    with pytest.raises(touchstone.UnknownName, match=said):
        chosen(typed, [("exp_abc", "quick"), ("exp_xyz", "other")])


def test_without_pandas_a_data_frame_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = touchstone.Results(
        experiment="exp_1", digest="0" * 64, complete=True, rows=(), summary=(), exhausted=(), counts=()
    )
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(touchstone.MissingExtra, match=r"pip install 'touchstone-lab\[notebook\]'"):
        empty.to_pandas()


def test_nothing_is_shown_of_progress_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress_here() as watcher:
        assert watcher.__name__ == "ignore"
    assert capsys.readouterr() == ("", "")


def test_waiting_longer_than_allowed_says_that_the_experiment_goes_on(pauses: list[float]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(204)
        return httpx.Response(200, content=json.dumps(detail("running")))

    with client_of(answer) as client, pytest.raises(touchstone.StillRunning, match="It goes on") as caught:
        client.wait("exp_1", timeout=-math.inf)
    assert isinstance(caught.value, TimeoutError)
