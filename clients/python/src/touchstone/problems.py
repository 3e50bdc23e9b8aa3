"""What can go wrong, said in the server's own words."""

from http import HTTPStatus

import httpx
from pydantic import ValidationError
from touchstone_contracts.problems import Problem
from touchstone_contracts.views import ExperimentView


class ProblemError(Exception):
    """The server answered with a problem document (RFC 9457); `problem.errors` names the fields by JSON pointer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(describe(problem))
        self.problem = problem


class ExperimentFailed(Exception):
    """The experiment ended without succeeding."""

    def __init__(self, experiment: ExperimentView) -> None:
        reasons = "; ".join(describe(problem) for problem in experiment.problems)
        super().__init__(f"experiment {experiment.id} {experiment.phase}" + (f": {reasons}" if reasons else ""))
        self.experiment = experiment


class UnknownStep(Exception):
    """What was typed is not the beginning of one step's id."""


def describe(problem: Problem) -> str:
    """One line: what, why, where."""
    fields = "; ".join(f"{error.pointer or '/'}: {error.detail}" for error in problem.errors)
    return ": ".join(part for part in (problem.title, problem.detail, fields) if part)


def raise_for_problem(response: httpx.Response) -> None:
    """Raises ProblemError for every answer from 400 on, also where a proxy answered instead of the server."""
    if not response.is_error:
        return
    response.read()
    raise ProblemError(_parse(response))


def _parse(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        title = HTTPStatus(response.status_code).phrase
        return Problem(title=title, status=response.status_code, code="not_a_problem", detail=response.text[:500])
