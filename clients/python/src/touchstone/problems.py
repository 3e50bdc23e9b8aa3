"""What can go wrong, as exceptions that say what to do next.

Everything that this package raises on purpose is a `TouchstoneError`. A server that refuses a request raises one of the
subclasses of `ProblemError`, chosen by the status of its answer:

    try:
        client.run("study.yaml")
    except touchstone.InvalidRequest as error:
        print(error.problem.errors)   # the fields at fault, each with its JSON pointer
    except touchstone.TooManyRequests as error:
        print(error.retry_after)      # seconds
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import ValidationError
from touchstone_contracts.problems import FieldError, Problem
from touchstone_contracts.views import ExperimentView

from touchstone.errors import TouchstoneError, UnknownName, UnknownStep
from touchstone.plain_words import first_causes, served_error


class ProblemError(TouchstoneError):
    """The server answered with a problem document (RFC 9457); `problem.errors` names the fields by JSON pointer."""

    remedy = ""
    """What to do next; a sentence."""

    def __init__(self, problem: Problem, retry_after: float | None = None, section: str = "") -> None:
        more = f"See {section}" if section else ""
        super().__init__("\n".join(filter(None, (describe(problem), self.remedy, more))))
        self.problem = problem
        self.section = section
        """The address of the page on the server that explains `problem.code`; empty where there is none."""
        self.retry_after = retry_after
        """Seconds after which the server allows the request again, where it says so."""


class InvalidRequest(ProblemError):
    """400, 413, 415 or 422: something in the request must change."""


class Unauthorized(ProblemError):
    """401: the server does not know the API key, or got none."""

    remedy = "Set TOUCHSTONE_API_KEY, run `touchstone login`, or pass key= to the client."


class Forbidden(ProblemError):
    """403: the API key may not do this."""

    remedy = "Use a key with a wider scope (`touchstone project` shows yours), or ask an administrator of the project."


class NotFound(ProblemError):
    """404: nothing of this name exists, or it belongs to another project."""

    remedy = "`touchstone list` shows what there is; `touchstone list targets`, `upstreams` and so on show the rest."


class Conflict(ProblemError):
    """409 or 412: the request contradicts what is there already, or comes too early."""


class TooManyRequests(ProblemError):
    """429: the key has used up its requests for this minute; `retry_after` says how many seconds to wait."""

    remedy = "The client has waited and tried again already. Send fewer requests, or raise the limit of the project."


class ServerFailed(ProblemError):
    """500 or above: the server failed, not the request."""

    remedy = "Try again in a minute. If it stays, give the request_id above to whoever runs the server."


class Unreachable(TouchstoneError, httpx.TransportError):
    """The server does not answer at all."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(
            f"no answer from {server}: {reason}\n"
            "Start one (`make up` in the repository), or name another: TOUCHSTONE_SERVER, --server, Client(server)."
        )
        self.server = server


class ExperimentFailed(TouchstoneError):
    """The experiment ended without succeeding; `experiment.problems` says why."""

    def __init__(self, experiment: ExperimentView) -> None:
        reasons = "; ".join(describe(problem) for problem in experiment.problems)
        ended = f"experiment {experiment.id} {experiment.phase}" + (f": {reasons}" if reasons else "")
        looked = f"See why: touchstone log {experiment.id}. Once it is mended: touchstone retry {experiment.id}"
        super().__init__(f"{ended}\n{looked}")
        self.experiment = experiment


class StillRunning(TouchstoneError, TimeoutError):
    """The experiment has not ended within the time that was given; it goes on."""


class UnreadableAnswer(TouchstoneError, ValueError):
    """The answer is not what this release of the client expects."""

    def __init__(self, server: str, error: ValidationError) -> None:
        super().__init__(
            f"the answer of {server} is not a {error.title} as this client knows it: either that is no Touchstone "
            f"server, or its release is another; install the client of the server's release"
        )


NOT_A_PROBLEM = "not_a_problem"
"""The code of an answer by somebody else than the server."""
BY_STATUS: dict[int, type[ProblemError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
}


def describe(problem: Problem) -> str:
    """One line: what, why and where. A server's detail often repeats its first field error, which is said once here."""
    fields = [served_error(error) for error in first_causes(problem.errors)]
    detail = "" if fields and _repeats(problem.detail, problem.errors[0]) else problem.detail
    request = f"request_id {problem.request_id}" if problem.status >= 500 and problem.request_id else ""
    return ": ".join(part for part in (problem.title, detail, "; ".join(fields), request) if part)


def _repeats(detail: str, first: FieldError) -> bool:
    return any(detail.startswith(f"{pointer}: {first.detail}") for pointer in (first.pointer, "body", "/"))


def raise_for_problem(response: httpx.Response) -> None:
    """Raises ProblemError for every answer from 400 on, also where a proxy answered instead of the server. The body of
    a streamed response has to be read before."""
    if response.is_error:
        problem = _parse(response)
        section = "" if problem.code == NOT_A_PROBLEM else str(response.url.join(problem.type))
        raise _kind(response.status_code)(problem, retry_after(response.headers.get("Retry-After")), section)


def _kind(status: int) -> type[ProblemError]:
    return BY_STATUS.get(status, ServerFailed if status >= 500 else InvalidRequest)


def problem_error(problem: Problem) -> ProblemError:
    """What the server tells of work that failed, as if it had refused the request for it."""
    return _kind(problem.status)(problem)


def retry_after(header: str | None) -> float | None:
    """Seconds, from either form of the header; None where there is none or it is neither."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _parse(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        title = response.reason_phrase or f"HTTP {response.status_code}"
        return Problem(title=title, status=response.status_code, code=NOT_A_PROBLEM, detail=response.text[:500])


__all__ = ["Conflict", "ExperimentFailed", "Forbidden", "InvalidRequest", "NotFound", "ProblemError", "ServerFailed",
           "StillRunning", "TooManyRequests", "TouchstoneError", "Unauthorized", "UnknownName", "UnknownStep",
           "Unreachable", "UnreadableAnswer", "describe", "problem_error", "raise_for_problem"]  # fmt: skip
