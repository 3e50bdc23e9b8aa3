"""Query parameters that nobody reads are refused: a misspelt filter would otherwise answer as if it were met."""

from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from touchstone_contracts.problems import FieldError, Invalid
from touchstone_contracts.suggestions import did_you_mean


def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every operation. Raises Invalid with a pointer to each."""
    if not request.query_params:
        return
    route: APIRoute = request.scope["route"]
    known = frozenset(_names(route.dependant))
    errors = [
        FieldError(pointer=f"/query/{name}", detail=_detail(name, known))
        for name in sorted(set(request.query_params) - known)
    ]
    if errors:
        raise Invalid(f"{errors[0].pointer}: {errors[0].detail}", code="invalid_request", errors=tuple(errors))


def _detail(name: str, known: frozenset[str]) -> str:
    if meant := did_you_mean(name, sorted(known), most=1):
        return f"there is no such parameter; {meant}"
    return f"there is no such parameter; known are {', '.join(sorted(known)) or 'none'}"


def _names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        annotation: Any = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from (field.alias or name for name, field in annotation.model_fields.items())
        else:
            yield parameter.alias
    for needed in dependant.dependencies:
        yield from _names(needed)
