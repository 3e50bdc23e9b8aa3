"""The published description: OpenAPI 3.1 with the problem document as a shared schema."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from touchstone_contracts.problems import Problem

from touchstone_api.access.authorise import SCOPE, scope_of
from touchstone_api.conditional import API, EVENT_STREAM
from touchstone_api.example_answers import add_examples
from touchstone_api.field_words import describe_fields
from touchstone_api.problems import PROBLEM_JSON, documented

_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
OF_EVERY_OPERATION = documented(422)
"""What any request may be answered, because something before the route refuses it (security/text.py)."""
OF_THE_API = documented(401, 403, 421, 429, 503)
OF_BODIES = documented(400, 413, 415)
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "As the ETag in If-None-Match says"}}
ETAG = {"ETag": {"description": "Changes with the answer's bytes", "schema": {"type": "string"}}}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "ETags of answers that the caller has: 304 where one is still right",
    "schema": {"type": "string", "maxLength": 1000, "title": "If-None-Match"},
}


def describe(app: FastAPI) -> None:
    """Replaces FastAPI's own error schema by ours: every error is a problem document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents


def _description(app: FastAPI) -> dict[str, Any]:
    description = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    describe_fields(schemas)
    description["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in description["paths"].items():
        if "get" in operations and path.startswith(API):
            _document_tags(operations["get"])
        for method, operation in operations.items():
            if path.startswith(API):
                operation["security"] = [{"key": []}]
                operation.setdefault(SCOPE, scope_of(method.upper()))
            _document_what_comes_before_routes(path, operation)
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")):
                    answer["content"] = {PROBLEM_JSON: {"schema": _PROBLEM_REF}}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    add_examples(description)
    return description


def _document_what_comes_before_routes(path: str, operation: dict[str, Any]) -> None:
    common = dict(OF_EVERY_OPERATION)
    if path.startswith(API):
        common |= OF_THE_API
    if "requestBody" in operation:
        common |= OF_BODIES
    answers = {str(status): answer for status, answer in common.items()} | operation["responses"]
    operation["responses"] = {status: answers[status] for status in sorted(answers)}


def _document_tags(operation: dict[str, Any]) -> None:
    found = operation["responses"]["200"]
    if EVENT_STREAM not in found.get("content", {}):
        found["headers"] = found.get("headers", {}) | ETAG
        operation["responses"] |= {str(status): answer for status, answer in NOT_MODIFIED.items()}
        operation["parameters"] = [*operation.get("parameters", []), IF_NONE_MATCH]
