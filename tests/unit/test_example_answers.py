"""Every operation of the OpenAPI document shows an answer as it would be, and the example fits its schema."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from support.memory_services import api_client, memory_services
from touchstone_api.example_answers import example_answers
from touchstone_contracts.experiment import ExperimentSpec

JSON = "application/json"
MOST_BYTES = 10_000


class Answer(NamedTuple):
    operation: str
    status: str
    content: dict[str, Any]
    """By media type."""


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    services = memory_services(tmp_path_factory.mktemp("api"))
    with api_client(services) as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
    services.store.close()
    return found


def successes(description: dict[str, Any]) -> Iterator[Answer]:
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    yield Answer(f"{method.upper()} {path}", status, answer.get("content", {}))


def example_of(description: dict[str, Any], content: dict[str, Any]) -> Any:
    [example] = content["examples"].values()
    name = example["$ref"].removeprefix("#/components/examples/")
    return description["components"]["examples"][name]["value"]


def complaints(description: dict[str, Any], schema: dict[str, Any], value: Any) -> list[ValidationError]:
    whole = {**schema, "components": {"schemas": description["components"]["schemas"]}}
    return list(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value))


def test_every_operation_that_answers_json_has_an_example_that_fits_its_schema(description: dict[str, Any]) -> None:
    answers = list(successes(description))
    without, unfit, looked_at = [], [], 0
    for answer in answers:
        if JSON not in answer.content:
            continue
        content = answer.content[JSON]
        if "examples" not in content:
            without.append(f"{answer.operation} {answer.status}")
            continue
        found = complaints(description, content.get("schema", {}), example_of(description, content))
        unfit += [f"{answer.operation} {answer.status}: {each.json_path}: {each.message}" for each in found]
        looked_at += 1
    assert (without, unfit) == ([], [])
    operations = {answer.operation for answer in answers}
    silent = {answer.operation for answer in answers if not answer.content}
    files = {each.operation for each in answers if each.content and JSON not in each.content}
    assert len(operations) == sum(map(len, description["paths"].values())) >= 77
    print(
        f"{looked_at} examples of {len(operations)} operations; {len(silent | files)} answer nothing or another format"
    )
    assert looked_at >= 75
    assert len(operations - silent - files) >= 65


def test_an_example_that_does_not_fit_would_be_found(description: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/Verdict"}
    verdict = example_answers()["Verdict"]
    assert complaints(description, schema, verdict) == []
    assert complaints(description, schema, verdict | {"answer": "perhaps"})
    assert complaints(description, schema, {key: value for key, value in verdict.items() if key != "delta"})


def test_no_example_is_left_over_or_long(description: dict[str, Any]) -> None:
    used = json.dumps(description["paths"])
    assert [name for name in example_answers() if f'"#/components/examples/{name}"' not in used] == []
    sizes = {name: len(json.dumps(value)) for name, value in example_answers().items()}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES} == {}
    assert len(sizes) >= 45


def test_specs_in_examples_could_be_posted() -> None:
    specs = [answer["spec"] for answer in example_answers().values() if isinstance(answer.get("spec"), dict)]
    assert [ExperimentSpec.model_validate(spec).upstream for spec in specs] == ["miniverse"] * len(specs)
    assert len(specs) >= 3


def test_examples_hold_nothing_that_opens_a_door() -> None:
    answers = example_answers()
    assert set(answers["CreatedKey"]["key"].removeprefix("ts_")) == {"x"}
    assert set(answers["WebhookRegistered"]["secret"].removeprefix("whsec_")) == {"x", "="}
