"""/compare: the page of several experiments side by side."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from touchstone_contracts.problems import Failure, FieldError, Invalid
from touchstone_contracts.views import ExperimentView, Verdict
from touchstone_store.experiments import require_experiment

from touchstone_api.access.authorise import PageReader, require_experiment_access
from touchstone_api.dashboard.accuracy_chart import MOST_SERIES, charts_of_experiments
from touchstone_api.dashboard.comparison import Compared, draw_verdicts, side_by_side
from touchstone_api.dashboard.rendering import html_page
from touchstone_api.dashboard.spec_differences import spec_differences
from touchstone_api.dependencies import ServicesHere
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.reader import ResultsReader
from touchstone_api.views import experiment_views

router = APIRouter(include_in_schema=False)

FEWEST, MOST = 2, 20
WITHOUT_VERDICT = {
    "failed": "The experiment failed before there was a verdict.",
    "cancelled": "The experiment was cancelled before there was a verdict.",
}
"""By phase."""


@router.get("/compare", response_class=HTMLResponse)
def compare_experiments(
    principal: PageReader,
    services: ServicesHere,
    reader: ResultsHere,
    chosen: Annotated[list[str], Query(alias="id")] = [],  # noqa: B006  # FastAPI copies defaults
) -> HTMLResponse:
    """Experiments in the order of their ids. Raises NotFound for one that the reader may not see, or Invalid."""
    ids = list(dict.fromkeys(id_ for each in chosen if (id_ := each.strip())))
    _check_number(ids)
    with services.store.read() as session:
        for id_ in ids:
            require_experiment_access(session, principal, id_)
        views = experiment_views(session, [require_experiment(session, id_) for id_ in ids])
    compared = [_compared(reader, number, view) for number, view in enumerate(views, start=1)]
    tables = side_by_side(compared)
    facts: dict[str, Any] = {
        "compared": compared,
        "headings": [each.heading for each in compared],
        "differences": spec_differences([each.spec for each in compared]),
        "tables": tables,
        "charts": charts_of_experiments(tables, compared),
        "most_series": MOST_SERIES,
        "drawing": draw_verdicts(compared),
        "most": MOST,
        "fewest": FEWEST,
    }
    return html_page("compare.html", csrf=principal.csrf, **facts)


def _check_number(ids: Sequence[str]) -> None:
    if FEWEST <= len(ids) <= MOST:
        return
    given = f"{len(ids)} were named" if len(ids) > 1 else "one was named" if ids else "none was named"
    detail = (
        f"name {FEWEST} to {MOST} different experiments, as /compare?id=exp_1&id=exp_2 or by their checkboxes in the "
        f"list of experiments; {given}"
    )
    raise Invalid(detail, code="invalid_request", errors=(FieldError(pointer="/query/id", detail=detail),))


def _compared(reader: ResultsReader, number: int, view: ExperimentView) -> Compared:
    """Raises Invalid where the spec is unreadable."""
    spec, results = view.readable_spec, reader.results(view.id)
    verdict, obstacle = _verdict(reader, view)
    return Compared(number, view, spec, results, verdict, obstacle)


def _verdict(reader: ResultsReader, view: ExperimentView) -> tuple[Verdict | None, str]:
    try:
        verdict = reader.stored_verdict(view.id)
    except Failure as failure:
        return None, str(failure)
    return verdict, WITHOUT_VERDICT.get(view.phase, "There is no verdict yet.")
