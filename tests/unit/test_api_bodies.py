"""What a body may hold is counted before anything is built from it, and a refusal costs next to nothing."""

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from support.memory_services import register_everything
from support.specs import DictLookup, spec
from touchstone_api.security.bodies import JsonBudget
from touchstone_contracts.values import MOST_CLASSES, MOST_ERRORS

BUDGET = JsonBudget()
SMALL = JsonBudget(keys=3, values=6, depth=3)
JSON = {"content-type": "application/json"}
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(['"', "\\", '\\"', "[{,:"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def counted(value: Any) -> tuple[int, int, int]:
    """(keys, commas and openings, depth), by walking."""
    if not isinstance(value, dict | list):
        return 0, 0, 0
    inner = [counted(item) for item in (value.values() if isinstance(value, dict) else value)]
    keys = len(value) if isinstance(value, dict) else 0
    own = 1 + max(0, len(value) - 1)
    depth = max((deep for _, _, deep in inner), default=0)
    return keys + sum(each[0] for each in inner), own + sum(each[1] for each in inner), 1 + depth


@given(DOCUMENTS, st.sampled_from([None, 2]))
def test_what_is_counted_is_what_a_parser_would_build(document: Any, indent: int | None) -> None:
    keys, values, depth = counted(document)
    body = json.dumps(document, indent=indent).encode()
    assert JsonBudget(keys, values, depth).excess(body) is None
    if keys:
        assert "keys" in str(JsonBudget(keys - 1, 10**6, 99).excess(body))
    if values:
        assert JsonBudget(10**6, values - 1, 99).excess(body) is not None
    if depth:
        assert "inside each other" in str(JsonBudget(10**6, 10**6, depth - 1).excess(body))


HOSTILE: dict[str, bytes] = {
    "unknown keys": json.dumps({f"k{number}": 0 for number in range(400_000)}).encode(),
    "strings": b"[" + b'"",' * 2_500_000 + b'""]',
    "values": b"[" + b"0," * 4_000_000 + b"0]",
    "nesting": b"[" * 8_000_000,
    "nested objects": b'{"a":' * 1_500_000,
    "quotes that do not end": b'"' + b'\\"' * 4_000_000,
    "quotes that end nothing": b'\\"' * 4_000_000,
    "backslashes": b'"' + b"\\" * 8_000_000,
    "one long string": b'"' + b"a" * 8_000_000 + b'"',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_looked_through_in_linear_time(name: str) -> None:
    def seconds(body: bytes) -> float:
        began = time.process_time()
        BUDGET.excess(body)
        return time.process_time() - began

    body = HOSTILE[name]
    assert seconds(body) < 40 * max(seconds(body[: len(body) // 10]), 0.02)
    assert len(HOSTILE) == 9


def many_errors() -> dict[str, tuple[str, dict[str, Any]]]:
    """Bodies within the budget with as many errors as they can have."""
    target = DictLookup().targets["fine"].model_dump(mode="json")
    plain, queries = spec().model_dump(mode="json"), {f"class {number}": [""] * 5 for number in range(MOST_CLASSES)}
    arm = {"kind": "retrieval", "name": "a", "strategy": {"kind": "text_match", "queries": queries}}
    return {
        "unknown keys": ("experiments", plain | {f"k{number}": 0 for number in range(90_000)}),
        "unknown keys of a part": ("targets", target | {"templates": {f"k{n}": 0 for n in range(90_000)}}),
        "empty classes": ("targets", target | {"classes": [{}] * MOST_CLASSES}),
        "too many classes": ("targets", target | {"classes": [0] * 390_000}),
        "empty queries of several arms": ("experiments", plain | {"arms": [arm | {"name": f"a{n}"} for n in range(5)]}),
        "too many fields of a clone": ("experiments/{experiment}/clone", {f"k{number}": 0 for number in range(90_000)}),
    }


@pytest.mark.parametrize("name", many_errors())
def test_a_body_of_errors_is_refused_with_the_first_of_them(api: TestClient, name: str) -> None:
    path, document = many_errors()[name]
    if "{experiment}" in path:
        register_everything(api)
        path = path.format(experiment=api.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["id"])
    body = json.dumps(document).encode()
    answer, seconds, peak = measured(lambda: api.post(f"/v1/{path}", content=body, headers=JSON))
    _, parsing, _ = measured(lambda: json.loads(body))
    assert answer.status_code == 422, answer.text
    assert 1 <= len(answer.json()["errors"]) <= MOST_ERRORS + 1
    assert len(answer.content) < 40_000
    assert seconds < 60 * max(parsing, 0.02)  # measured: 14 times as long as reading the body
    assert peak < 150_000_000  # measured: 60 MB at most


def measured(call: Callable[[], Any]) -> tuple[Any, float, int]:
    """(answer, CPU seconds, bytes at most)"""
    tracemalloc.start()
    try:
        began = time.process_time()
        answer = call()
        return answer, time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_rest_of_the_errors_is_counted(api: TestClient) -> None:
    document = spec().model_dump(mode="json") | {f"k{number}": 0 for number in range(1000)}
    errors = api.post("/v1/experiments", json=document).json()["errors"]
    assert len(errors) == MOST_ERRORS + 1
    assert errors[0] == {"pointer": "/k0", "detail": "there is no such field"}
    assert errors[-1] == {"pointer": "", "detail": "900 more errors are not listed"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"a": {"b": 1, "c": 2, "d": 3}}', "more than 3 keys"),
        (b"[1, 2, 3, 4, 5, 6, 7]", "more than 6 values"),
        (b"[[[[]]]]", "more than 3 arrays and objects inside each other"),
        (b'{"a": "[[[[[[,,,,,,::::"}', None),
        (b"no JSON at all", None),
        (b"", None),
    ],
)
def test_text_inside_strings_does_not_count(body: bytes, words: str | None) -> None:
    assert SMALL.excess(body) == words


def test_a_body_that_holds_too_much_is_a_problem_document(api: TestClient) -> None:
    answer = api.post("/v1/experiments", content=b"[" * 100, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "body_too_complex")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_largest_target_is_accepted(api: TestClient) -> None:
    register_everything(api)
    target = DictLookup().targets["fine"].model_dump(mode="json")
    classes = [
        {"id": number, "display_name": f"thing {number}", "aliases": [f"name {number} {each}" for each in range(9)]}
        for number in range(MOST_CLASSES)
    ]
    templates = {name: [f"{number} {{name}}" for number in range(80)] for name in target["templates"]}
    largest = target | {"name": "largest", "classes": classes, "templates": templates}
    assert api.post("/v1/targets", json=largest).status_code == 201
