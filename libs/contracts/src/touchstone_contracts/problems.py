"""Errors come in three families: Invalid (the caller must change something; never retried), Transient (retried
with backoff), and everything else, which is a bug. Over HTTP they travel as RFC 9457 problem documents."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import Field, model_validator

from touchstone_contracts.redaction import redacted
from touchstone_contracts.values import Lenient, is_empty, is_none


class FieldError(Lenient):
    pointer: str
    """JSON pointer into the request body, e.g. `/arms/1/kind`."""
    detail: str


UNTYPED = "about:blank"
"""Of problems that were stored before their codes had sections."""


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


class Problem(Lenient):
    """An RFC 9457 problem document; inside the system also the reason why a step failed."""

    type: str = Field(default=UNTYPED, json_schema_extra=_without_default)
    """The address of the section that explains `code`, on the server that answers: `/problems/<code>`."""
    title: str
    status: int = 500
    detail: str = ""
    code: str
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None
    out_of_memory_on: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    """Of a step: the workers on which memory ran out, one for each attempt since one got further than all before."""
    missing_object: str | None = Field(default=None, exclude_if=is_none)
    """The key of the object that was not there, where that is the reason."""

    @model_validator(mode="before")
    @classmethod
    def _type_leads_to_the_section(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "code" in value and value.get("type", UNTYPED) == UNTYPED:
            return {**value, "type": section_address(str(value["code"]))}
        return value


def section_address(code: str) -> str:
    return f"/problems/{quote(code, safe='')}"


class Failure(Exception):
    """Base of the two declared families. `code` is stable and machine-readable, the message names the remedy."""

    code = "failure"
    status = 500
    title = "Failure"
    retry_after: int | None = None
    """Seconds after which the same request may succeed, where that is known."""

    def __init__(self, detail: str, *, code: str | None = None, errors: tuple[FieldError, ...] = ()) -> None:
        self.detail = redacted(detail)
        super().__init__(self.detail)
        self.code = code or self.code
        self.errors = errors

    def problem(self) -> Problem:
        return Problem(title=self.title, status=self.status, detail=self.detail, code=self.code, errors=self.errors)


class Invalid(Failure):
    """The caller must change something; repeating the same request cannot help."""

    code = "invalid"
    status = 422
    title = "Invalid request"


class NotFound(Invalid):
    code = "not_found"
    status = 404
    title = "Not found"


class Unfair(Invalid):
    """The comparison would not be fair, or what is there already contradicts the request."""

    code = "unfair"
    status = 409
    title = "Unfair comparison"


class Transient(Failure):
    """Something outside failed for now: the step is tried again."""

    code = "transient"
    status = 503
    title = "Temporarily unavailable"


class Cancelled(Failure):
    """The work is no longer wanted; raised inside a step when its experiment was cancelled."""

    code = "cancelled"
    status = 409
    title = "Cancelled"


def in_words(names: Sequence[str], conjunction: str) -> str:
    """["a", "b", "c"], "or" -> "a, b or c"; for messages that say what is allowed."""
    if len(names) < 2:
        return "".join(names) or "nothing"
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"
