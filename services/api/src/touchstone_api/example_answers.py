"""An example of every successful answer, for the OpenAPI document: example_answers.json, by the name of the schema, or
by the operation where its answer has none. Recorded from an experiment like the demo's, with lists cut short."""

import json
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "example_answers.json"
JSON = "application/json"
SCHEMAS = "#/components/schemas/"


@cache
def example_answers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SOURCE.read_text("utf-8"))
    return found


def add_examples(description: dict[str, Any]) -> None:
    """Each stands once among the document's components, and operations refer to it."""
    answers = example_answers()
    description["components"]["examples"] = {name: {"value": value} for name, value in answers.items()}
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get(JSON)
                if status.startswith("2") and content is not None and (name := _named(operation, content)) in answers:
                    content["examples"] = {"answer": {"$ref": f"#/components/examples/{name}"}}


def _named(operation: dict[str, Any], content: dict[str, Any]) -> str:
    reference: str = content.get("schema", {}).get("$ref", "")
    return reference.removeprefix(SCHEMAS) or str(operation["operationId"])
