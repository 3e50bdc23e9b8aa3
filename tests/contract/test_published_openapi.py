"""The OpenAPI document that callers know: what would break them fails here unless the version moves."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.openapi_changes import METHODS, breaking_changes, breaks, version_moved
from support.published_openapi import openapi_of_today, published_openapi, unannounced_breaks

Document = dict[str, Any]
Change = Callable[[Document], object]

RENEW = "only additions: renew the published document with `make contract`"


def small() -> Document:
    """An operation with a parameter, a body and an answer; schemas that name each other in a circle."""
    return {
        "info": {"version": "0.1.0"},
        "paths": {
            "/things": {
                "post": {
                    "parameters": [
                        {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1, "maximum": 9}}
                    ],
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Wish"}}}},
                    "responses": {
                        "200": {
                            "headers": {"ETag": {"schema": {"type": "string"}}},
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                        },
                        "404": {"content": {}},
                    },
                }
            },
            "/others": {"get": {"responses": {"200": {}}}},
        },
        "components": {
            "schemas": {
                "Wish": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "maxLength": 20},
                        "colour": {"type": "string", "enum": ["red", "blue"]},
                        "amount": {"type": "number"},
                        "arm": {"oneOf": [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B"}]},
                        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                },
                "A": {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}},
                "B": {"type": "object", "properties": {"kind": {"const": "b"}}},
                "Thing": {
                    "type": "object",
                    "required": ["id", "state"],
                    "properties": {
                        "id": {"type": "string"},
                        "state": {"type": "string", "enum": ["new", "old"]},
                        "count": {"type": "integer"},
                        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                        "arm": {"oneOf": [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B"}]},
                    },
                },
            }
        },
    }


def post(document: Document) -> Any:
    return document["paths"]["/things"]["post"]


def field(document: Document, schema: str, name: str) -> Any:
    return document["components"]["schemas"][schema]["properties"][name]


BREAKS: dict[str, tuple[Change, str]] = {
    "a path is removed": (lambda d: d["paths"].pop("/others"), "/others: removed"),
    "an operation is removed": (lambda d: d["paths"]["/things"].pop("post"), "POST /things: removed"),
    "a parameter is removed": (lambda d: post(d)["parameters"].clear(), "query parameter limit: removed"),
    "a parameter is needed that was not there": (
        lambda d: post(d)["parameters"].append({"in": "query", "name": "x", "required": True, "schema": {}}),
        "query parameter x: required now",
    ),
    "a parameter has to be given": (
        lambda d: post(d)["parameters"][0].update(required=True),
        "query parameter limit: required now",
    ),
    "a number's maximum falls": (
        lambda d: post(d)["parameters"][0]["schema"].update(maximum=5),
        "query parameter limit: maximum 9 is 5 now",
    ),
    "a number's minimum rises": (
        lambda d: post(d)["parameters"][0]["schema"].update(minimum=2),
        "query parameter limit: minimum 1 is 2 now",
    ),
    "a body has to be given": (lambda d: post(d)["requestBody"].update(required=True), "body: required now"),
    "a body is removed": (lambda d: post(d).pop("requestBody"), "body: removed"),
    "a media type is removed": (lambda d: post(d)["requestBody"]["content"].clear(), "application/json: removed"),
    "a field of a request is removed": (
        lambda d: d["components"]["schemas"]["Wish"]["properties"].pop("colour"),
        "request Wish.colour: removed",
    ),
    "a field of a request is needed": (
        lambda d: d["components"]["schemas"]["Wish"]["required"].append("colour"),
        "request Wish.colour: required now",
    ),
    "unknown fields are refused": (
        lambda d: d["components"]["schemas"]["Wish"].update(additionalProperties=False),
        "request Wish: refuses unknown fields now",
    ),
    "a text gets a length": (
        lambda d: field(d, "Wish", "colour").update(maxLength=3),
        "request Wish.colour: maxLength None is 3 now",
    ),
    "a text gets a pattern": (
        lambda d: field(d, "Wish", "name").update(pattern="^a"),
        "request Wish.name: pattern None is '^a' now",
    ),
    "a number becomes an integer": (
        lambda d: field(d, "Wish", "amount").update(type="integer"),
        "request Wish.amount: number removed",
    ),
    "null is refused": (lambda d: field(d, "Wish", "maybe")["anyOf"].pop(), "request Wish.maybe: null removed"),
    "a value of a request is removed": (
        lambda d: field(d, "Wish", "colour")["enum"].remove("red"),
        "request Wish.colour: value 'red' removed",
    ),
    "a kind of a request is removed": (
        lambda d: field(d, "Wish", "arm")["oneOf"].pop(),
        "request Wish.arm: kind kind b removed",
    ),
    "a field of a kind is removed": (
        lambda d: d["components"]["schemas"]["A"]["properties"].pop("x"),
        "request A.x: removed",
    ),
    "what a map holds becomes another type": (
        lambda d: field(d, "Wish", "notes").update(additionalProperties={"type": "integer"}),
        "request Wish.notes[key]: string removed",
    ),
    "a success is removed": (lambda d: post(d)["responses"].pop("200"), "200: removed"),
    "a header of an answer is removed": (
        lambda d: post(d)["responses"]["200"].pop("headers"),
        "200 header ETag: removed",
    ),
    "a field of an answer is removed": (
        lambda d: d["components"]["schemas"]["Thing"]["properties"].pop("count"),
        "answer Thing.count: removed",
    ),
    "a field of an answer may be missing": (
        lambda d: d["components"]["schemas"]["Thing"]["required"].remove("id"),
        "answer Thing.id: may be missing now",
    ),
    "a field of an answer changes its type": (
        lambda d: field(d, "Thing", "count").update(type="string"),
        "answer Thing.count: integer removed",
    ),
    "an integer of an answer becomes a number": (
        lambda d: field(d, "Thing", "count").update(type="number"),
        "answer Thing.count: may be number now",
    ),
    "a field of an answer may be null": (
        lambda d: d["components"]["schemas"]["Thing"]["properties"].update(
            count={"anyOf": [{"type": "integer"}, {"type": "null"}]}
        ),
        "answer Thing.count: may be null now",
    ),
    "a value of an answer is removed": (
        lambda d: field(d, "Thing", "state")["enum"].remove("old"),
        "answer Thing.state: value 'old' removed",
    ),
    "a kind of an answer is removed": (
        lambda d: field(d, "Thing", "arm")["oneOf"].pop(),
        "answer Thing.arm: kind kind b removed",
    ),
}

ADDITIONS: dict[str, Change] = {
    "nothing": lambda d: None,
    "a path": lambda d: d["paths"].update({"/more": {"get": {"responses": {}}}}),
    "an optional parameter": lambda d: post(d)["parameters"].append({"in": "query", "name": "x", "schema": {}}),
    "a larger maximum": lambda d: post(d)["parameters"][0]["schema"].update(maximum=10),
    "no maximum": lambda d: post(d)["parameters"][0]["schema"].pop("maximum"),
    "an optional field of a request": lambda d: d["components"]["schemas"]["Wish"]["properties"].update(x={}),
    "a field of a request that is no longer needed": lambda d: d["components"]["schemas"]["Wish"].pop("required"),
    "a value of a request": lambda d: field(d, "Wish", "colour")["enum"].append("green"),
    "an integer where a number may stand": lambda d: field(d, "Thing", "count").update(description="how many"),
    "a field of an answer": lambda d: d["components"]["schemas"]["Thing"]["properties"].update(x={"type": "string"}),
    "a field that an answer always has": lambda d: d["components"]["schemas"]["Thing"]["required"].append("count"),
    "a kind": lambda d: (
        d["components"]["schemas"].update(C={"type": "object", "properties": {"kind": {"const": "c"}}}),
        field(d, "Thing", "arm")["oneOf"].append({"$ref": "#/components/schemas/C"}),
    ),
    "another error": lambda d: post(d)["responses"].update({"409": {}}),
    "an error that is gone": lambda d: post(d)["responses"].pop("404"),
    "a renamed schema": lambda d: (
        d["components"]["schemas"].update(Gift=d["components"]["schemas"].pop("Wish")),
        post(d)["requestBody"]["content"]["application/json"]["schema"].update({"$ref": "#/components/schemas/Gift"}),
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_every_kind_of_break_is_found(case: str) -> None:
    change, expected = BREAKS[case]
    today = small()
    change(today)
    found = breaking_changes(small(), today)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize("case", ADDITIONS)
def test_an_addition_breaks_nothing(case: str) -> None:
    today = small()
    ADDITIONS[case](today)
    assert breaking_changes(small(), today) == []


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("1.2.0", "1.3.0", False),
        ("1.2.0", "2.0.0", True),
        ("2.0.0", "1.9.0", False),
    ],
)
def test_a_break_is_announced_by_the_part_of_the_version_that_may_break(before: str, now: str, moved: bool) -> None:
    documents = [small() | {"info": {"version": version}} for version in (before, now)]
    assert version_moved(*documents) is moved
    documents[1]["paths"].pop("/others")
    assert bool(unannounced_breaks(*documents)) is not moved


def test_what_is_published_is_not_broken(tmp_path: Path) -> None:
    published, today = published_openapi(), openapi_of_today(tmp_path)
    assert unannounced_breaks(published, today) == []
    assert today == published, RENEW


def _without_one_operation(document: Document) -> Iterator[tuple[str, Document]]:
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                left = {name: operation for name, operation in operations.items() if name != method}
                yield f"{method.upper()} {path}: removed", document | {"paths": document["paths"] | {path: left}}


def _without_one_field(document: Document) -> Iterator[tuple[str, Document]]:
    text = json.dumps(document)
    named = {name: each for name, each in document["components"]["schemas"].items() if f'schemas/{name}"' in text}
    for name, schema in named.items():
        for each in schema.get("properties", {}):
            changed = dict(document)
            changed["components"] = {"schemas": dict(document["components"]["schemas"])}
            fields = {key: value for key, value in schema["properties"].items() if key != each}
            changed["components"]["schemas"][name] = {**schema, "properties": fields}
            # Without the field that tells its kind, a member of a union is another member.
            yield "removed" if "const" in schema["properties"][each] else f"{name}.{each}: removed", changed


def test_every_operation_and_field_of_the_published_document_is_guarded() -> None:
    published = published_openapi()
    looked_at = 0
    for expected, changed in [*_without_one_operation(published), *_without_one_field(published)]:
        assert any(expected in line for line in breaks(published, changed)), expected
        looked_at += 1
    assert looked_at > 500
