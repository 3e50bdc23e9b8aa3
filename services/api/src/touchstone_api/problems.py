"""Every error leaves as an RFC 9457 problem document; no traceback ever does."""

from collections.abc import Iterator, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from touchstone_contracts.problems import Failure, FieldError, Invalid, Problem
from touchstone_contracts.suggestions import MOST_SUGGESTED, unknown_value
from touchstone_contracts.values import MOST_ERRORS, Posted
from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import MissingObject

from touchstone_api.dashboard.rendering import problem_page
from touchstone_api.healing import healing_problem

log = get_logger(__name__)


class LoginNeeded(Exception):
    """A page was asked for by nobody we know."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.location = f"/login?{urlencode({'next': path})}"


PROBLEM_JSON = "application/problem+json"
NO_PAGES = ("/v1/", "/healthz", "/readyz", "/metrics", "/assets/", "/openapi.json")
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_NO_PAGE = "There is no page at this address."
_TAG_ERRORS = {"union_tag_invalid", "union_tag_not_found"}


def problem_response(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    request.app.state.telemetry.count_problem(problem.code)
    request_id = getattr(request.state, "request_id", None)
    content = problem.model_copy(update={"request_id": request_id}).model_dump(mode="json")
    # Answers to bugs leave past every middleware, so these two are set here as well.
    headers = {"X-Request-Id": request_id or "", "X-Content-Type-Options": "nosniff", **(headers or {})}
    if problem.status == 503:
        headers.setdefault("Retry-After", "5")
    if problem.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    return JSONResponse(content, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def failure_response(request: Request, error: Failure) -> JSONResponse:
    waits = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
    return problem_response(request, error.problem(), waits)


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Failure, _failure)
    app.add_exception_handler(LoginNeeded, _to_login)
    app.add_exception_handler(RequestValidationError, _malformed_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


def _is_of_a_page(request: Request) -> bool:
    return not request.url.path.startswith(NO_PAGES) and request.method in {"GET", "HEAD"}


def _is_for_a_person(request: Request) -> bool:
    """Whether a browser shows the answer: then it is a page, also where there is none."""
    return _is_of_a_page(request) and "text/html" in request.headers.get("accept", "")


def _page(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    page = problem_page(problem)
    page.headers.update(headers or {})
    return page


async def _failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)
    if _is_of_a_page(request):
        return _page(error.problem())
    experiment = request.path_params.get("experiment")
    if isinstance(error, MissingObject) and experiment is not None:
        services = request.app.state.services
        return problem_response(request, await run_in_threadpool(healing_problem, services, experiment, error))
    return failure_response(request, error)


async def _to_login(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoginNeeded)
    return RedirectResponse(error.location, status_code=303)


async def _malformed_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = list(error.errors())
    if any(detail["type"] == "json_invalid" for detail in details):
        problem = Problem(title="Malformed JSON", status=400, code="malformed_json", detail="the body is not JSON")
        return problem_response(request, problem)
    problem = invalid_fields(details, error.body).problem()
    return _page(problem) if _is_of_a_page(request) else problem_response(request, problem)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    code = _CODES.get(error.status_code, "http_error")
    headers = dict(error.headers or {})
    if _is_for_a_person(request):
        detail = _NO_PAGE if error.status_code == 404 else str(error.detail)
        return _page(Problem(title=title, status=error.status_code, code=code, detail=detail), headers)
    problem = Problem(title=title, status=error.status_code, code=code, detail=str(error.detail))
    return problem_response(request, problem, headers)


async def _bug(request: Request, error: Exception) -> Response:
    log.error("request.bug", path=request.url.path, error=str(error), exc_info=error)
    detail = "an unexpected error; the log has it under this request_id"
    problem = Problem(title="Internal error", status=500, code="bug", detail=detail)
    if not _is_for_a_person(request):
        return problem_response(request, problem)
    request_id = getattr(request.state, "request_id", None) or ""
    return _page(problem.model_copy(update={"detail": f"{detail}: {request_id}"}), {"X-Request-Id": request_id})


def invalid_body(error: ValidationError, body: object) -> Invalid:
    """A pydantic error about `body` as the failure to raise."""
    return invalid_fields([{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors()], body)


def invalid_fields(details: Sequence[dict[str, Any]], body: object) -> Invalid:
    errors = tuple(
        FieldError(pointer=json_pointer(_location(detail), body), detail=_said(detail, suggests=at < MOST_SUGGESTED))
        for at, detail in enumerate(_without_repeats(details)[: MOST_ERRORS + 1])
    )
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Invalid(f"{first.pointer or 'body'}: {first.detail}{more}", code="invalid_request", errors=errors)


def _without_repeats(details: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pydantic counts refused items of a list as missing and so calls the list too short. That is left out where the
    list is long enough and an error names its item."""
    short = {id(detail): tuple(detail["loc"]) for detail in details if _is_long_enough(detail)}
    if not short:
        return list(details)
    lists = {loc[:length] for loc in (tuple(detail["loc"]) for detail in details) for length in range(len(loc))}
    return [detail for detail in details if short.get(id(detail)) not in lists]


def _is_long_enough(detail: dict[str, Any]) -> bool:
    if detail["type"] != "too_short" or not isinstance(detail["input"], list | tuple):
        return False
    return bool(len(detail["input"]) >= detail["ctx"]["min_length"])


def _said(detail: dict[str, Any], *, suggests: bool) -> str:
    return unknown_value(detail, known_fields() if suggests else ()) or detail["msg"]


@cache
def known_fields() -> tuple[str, ...]:
    """Of everything that is posted."""
    definitions = models_json_schema([(model, "validation") for model in _posted(Posted)])[1].get("$defs", {})
    return tuple(dict.fromkeys(name for schema in definitions.values() for name in schema.get("properties", {})))


def _posted(model: type[Posted]) -> Iterator[type[Posted]]:
    for each in model.__subclasses__():
        yield each
        yield from _posted(each)


def _location(detail: dict[str, Any]) -> tuple[str | int, ...]:
    location: tuple[str | int, ...] = detail["loc"]
    if detail["type"] in _TAG_ERRORS:
        location = (*location, str(detail["ctx"]["discriminator"]).strip("'"))
    return location


def json_pointer(location: Sequence[str | int], body: object) -> str:
    """RFC 6901 pointer into `body`. A location outside the body (query, path, header) is written `/query/limit`.

    Pydantic also names the chosen member of a tagged union, and the item of a list that was written as one text; the
    body has no such level, so it is left out."""
    if not location or location[0] != "body":
        return "".join(f"/{part}" for part in location)
    parts: list[str] = []
    here = body
    for index, part in enumerate(location[1:], start=2):
        found = _has(here, part)
        if found:
            here = here[part]  # type: ignore[index]  # _has checked it
        if found or (index == len(location) and not isinstance(here, str)):
            parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)


def _has(container: object, part: str | int) -> bool:
    if isinstance(container, list | tuple):
        return isinstance(part, int) and part < len(container)
    return isinstance(container, dict) and part in container


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for the problems a route may answer."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
