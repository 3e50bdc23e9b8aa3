"""Messages about fields in plain words: those of a model that is validated here, and those of a server."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import ValidationError
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import FieldError
from touchstone_contracts.suggestions import did_you_mean, unknown_value
from touchstone_contracts.values import Name

_RENAMED = {
    "Extra inputs are not permitted": "there is no such field",
    "Field required": "this field is required",
}
_PLAINER = {
    " after validation": "",
    " or object to extract fields from": "",
    ", unable to parse string as a number": "",
    ", unable to parse string as an integer": "",
    "match pattern '^https?://[!-~]+$'": "be a web address such as https://example.org/hook",
    "be a valid tuple": "be a list",
    "be a valid dictionary": "be a mapping",
}
_SUBJECT = re.compile(r"^(?:[A-Z][a-z]+|URL|JSON) should ")
_TAG = re.compile(
    r"Input tag (?P<tag>'.*?') found using .* does not match any of the expected tags: (?P<tags>.*)", re.S
)
NAME_PATTERN = get_args(Name)[1].pattern
"""Of names of arms, targets and so on."""
MOST_SHOWN = 10
"""Errors of one document that are shown."""


def about_field(message: str, field: str) -> str:
    """A validator's message about `field`, with the nearest field that there is where there is none of that name."""
    if message in _RENAMED:
        meant = did_you_mean(field, known_fields(), most=1) if message.startswith("Extra") else ""
        return "; ".join(filter(None, (_RENAMED[message], meant)))
    if tagged := _TAG.fullmatch(message):
        return f"{tagged['tag']} is not one of {tagged['tags']}"
    if message.endswith(f"'{NAME_PATTERN}'"):
        return "must be a name in lower-case letters, digits, '.', '_' and '-', of 64 characters at most"
    said = _SUBJECT.sub("must ", message.removeprefix("Value error, "))
    for theirs, ours in _PLAINER.items():
        said = said.replace(theirs, ours)
    return said


def field_errors(error: ValidationError) -> str:
    """All errors of a document that does not validate, in one line."""
    found = [_field_error(detail) for detail in error.errors(include_url=False)]
    more = [f"and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
    return "; ".join([*found[:MOST_SHOWN], *more])


def _field_error(detail: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    said = unknown_value(detail, known_fields()) or about_field(detail["msg"], location[-1] if location else "")
    return f"{'.'.join(location)}: {said}" if location else said


def first_causes(errors: Sequence[FieldError]) -> list[FieldError]:
    """Without the complaint that a list is too short once its faulty items are taken out."""
    parents = {error.pointer.rpartition("/")[0] for error in errors}
    deeper = {pointer for parent in parents for pointer in _ancestors(parent)}
    return [error for error in errors if "after validation" not in error.detail or error.pointer not in deeper]


def _ancestors(pointer: str) -> Iterator[str]:
    """The pointer itself, and of whatever it is in."""
    while pointer:
        yield pointer
        pointer = pointer.rpartition("/")[0]


def served_error(error: FieldError) -> str:
    return f"{error.pointer or '/'}: {about_field(error.detail, error.pointer.rpartition('/')[2])}"


@cache
def known_fields() -> tuple[str, ...]:
    """Of specs and catalogues, wherever they stand."""
    schemas = (ExperimentSpec.model_json_schema(), Catalogue.model_json_schema())
    return tuple(dict.fromkeys(name for schema in schemas for name in _properties(schema)))


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties", {})
        yield from (name for name in properties if isinstance(properties, dict))
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from _properties(each)
