"""/ and /experiments/{experiment}: the dashboard, and the files its pages need."""

import mimetypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment
from touchstone_contracts.problems import Failure, NotFound, Problem
from touchstone_contracts.views import Verdict

from touchstone_api.cursors import cut_page, decode_cursor
from touchstone_api.dashboard.facts import accuracy_tables, draw_interval, largest_class_differences, progress_by_kind
from touchstone_api.dashboard.rendering import HERE, environment, page
from touchstone_api.dependencies import ServicesHere
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.reader import ResultsReader
from touchstone_api.store.experiments import list_experiments
from touchstone_api.views import experiment_detail, experiment_views

router = APIRouter(include_in_schema=False)

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
ASSETS = ("style.css", "clock.js", "experiments.js", "experiment.js", "charts.js", "gallery.js", "favicon.svg")
ASSET_CACHE = "public, max-age=300"
EXPERIMENTS_PER_PAGE = 30


@cache
def _pages() -> Environment:
    return environment()


def _html(text: str, status: int = 200) -> HTMLResponse:
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(text, status_code=status, headers=headers)


@router.get("/", response_class=HTMLResponse)
def show_experiments(services: ServicesHere, cursor: Annotated[str | None, Query()] = None) -> HTMLResponse:
    with services.store.read() as session:
        found = list_experiments(session, before=decode_cursor(cursor), limit=EXPERIMENTS_PER_PAGE + 1)
        shown, following = cut_page(found, EXPERIMENTS_PER_PAGE, lambda experiment: experiment.id)
        views = experiment_views(session, shown)
    return _html(page(_pages(), "experiments.html", experiments=views, following=following))


@router.get("/experiments/{experiment}", response_class=HTMLResponse)
def show_experiment(experiment: str, services: ServicesHere, reader: ResultsHere) -> HTMLResponse:
    try:
        with services.store.read() as session:
            detail = experiment_detail(session, experiment)
    except NotFound as error:
        return _html(page(_pages(), "missing.html", detail=error.detail), 404)
    results, targets = reader.results(experiment), reader.planned(experiment).resolved.targets
    verdict, obstacle = _verdict(reader, experiment)
    facts = {
        "experiment": detail,
        "kinds": progress_by_kind(detail.step_list),
        "results": results,
        "tables": accuracy_tables(detail.spec, targets, results),
        "verdict": verdict,
        "obstacle": obstacle,
        "drawing": draw_interval(verdict) if verdict else None,
        "classes": largest_class_differences(verdict, targets) if verdict else [],
    }
    return _html(page(_pages(), "experiment.html", **facts))


def _verdict(reader: ResultsReader, experiment: str) -> tuple[Verdict | None, Problem | None]:
    try:
        return reader.verdict(experiment), None
    except Failure as failure:
        return None, failure.problem()


@router.get("/assets/{name}")
def get_asset(name: str) -> FileResponse:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(_asset(name), media_type=media_type, headers={"Cache-Control": ASSET_CACHE})


def _asset(name: str) -> Path:
    if name in ASSETS:
        return HERE / "static" / name
    if name == "plotly.min.js":
        return _installed_plotly()
    raise NotFound(f"no asset {name!r}")


@cache
def _installed_plotly() -> Path:
    """plotly.js as the installed Python package ships it; found without importing the package, which is large."""
    package = find_spec("plotly")
    if package is None or not package.submodule_search_locations:
        raise NotFound("plotly is not installed")
    return Path(package.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
