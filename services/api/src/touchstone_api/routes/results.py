"""/v1/experiments/{experiment}/results and /verdict."""

from typing import Literal

from fastapi import APIRouter, Response
from touchstone_contracts.views import Results, Scaling, Verdict

from touchstone_api.problems import documented
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.tables import csv_table, parquet_table

router = APIRouter(prefix="/v1/experiments", tags=["results"])

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"


@router.get(
    "/{experiment}/results",
    response_model=Results,
    responses={
        200: {"description": "As JSON, or the rows alone as a file", "content": {CSV: {}, PARQUET: {}}},
        **documented(404, 422, 503),
    },
)
def get_results(
    experiment: str, reader: ResultsHere, format: Literal["json", "csv", "parquet"] = "json"
) -> Results | Response:
    """What is measured so far; `complete` once every evaluation is in. One row per target, arm, size, seed, metric."""
    results = reader.results(experiment)
    if format == "json":
        return results
    headers = {"Content-Disposition": f'attachment; filename="{results.experiment}.{format}"'}
    if format == "csv":
        return Response(csv_table(results.rows), media_type=CSV, headers=headers)
    return Response(parquet_table(results.rows), media_type=PARQUET, headers=headers)


@router.get("/{experiment}/verdict", responses=documented(404, 409, 503))
def get_verdict(experiment: str, reader: ResultsHere) -> Verdict:
    """The comparison of two arms. 409 `not_finished` until both have all their evaluations."""
    return reader.verdict(experiment)


@router.get("/{experiment}/scaling", responses=documented(404, 503))
def get_scaling(experiment: str, reader: ResultsHere) -> Scaling:
    """Accuracy as a power law of size, for every arm that has finished; points beyond the measured sizes are marked."""
    return reader.scaling(experiment)
