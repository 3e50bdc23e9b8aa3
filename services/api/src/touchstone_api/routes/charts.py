"""/experiments/{experiment}/accuracy.svg and .csv: the charts of an experiment's page as files."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.problems import Failure, NotFound
from touchstone_contracts.views import ScalingFit

from touchstone_api.dashboard.accuracy_chart import AccuracyChart, chart_csv, charts_of_arms
from touchstone_api.dashboard.facts import accuracy_tables
from touchstone_api.dashboard.rendering import svg_file
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.reader import ResultsReader

router = APIRouter(prefix="/experiments/{experiment}", include_in_schema=False)

Word = Annotated[str, Query(max_length=200)]


def fits_of(reader: ResultsReader, experiment: str) -> Sequence[ScalingFit]:
    """Empty while the stored fits cannot be read: the chart then joins the measured means."""
    try:
        return reader.scaling_fits(experiment)
    except Failure:
        return ()


def asked_chart(
    experiment: str, reader: ResultsHere, target: Word, metric: Word, test_set: Word = MAIN_TEST_SET
) -> AccuracyChart:
    """Raises NotFound for what is not measured, or not yet."""
    tables = accuracy_tables(
        reader.planned(experiment).spec, reader.resolved(experiment).targets, reader.results(experiment)
    )
    asked = [each for each in tables if (each.target, each.metric, each.test_set) == (target, metric, test_set)]
    for chart in charts_of_arms(asked, fits_of(reader, experiment)):
        return chart
    raise NotFound(f"experiment {experiment!r} has no measured {metric!r} at target {target!r}, test set {test_set!r}")


AskedChart = Annotated[AccuracyChart, Depends(asked_chart)]


@router.get("/accuracy.svg")
def save_chart_as_svg(chart: AskedChart) -> Response:
    return Response(svg_file(chart), media_type="image/svg+xml", headers=_saved_as(chart, "svg"))


@router.get("/accuracy.csv")
def save_chart_as_csv(chart: AskedChart) -> Response:
    return Response(chart_csv(chart), media_type="text/csv; charset=utf-8", headers=_saved_as(chart, "csv"))


def _saved_as(chart: AccuracyChart, suffix: str) -> dict[str, str]:
    """Names of targets, metrics and test sets hold no character that a header or a file system minds."""
    name = f"{chart.target}-{chart.metric}-{chart.test_set}.{suffix}"
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
