"""/v1/experiments/{experiment}/results, /predictions, /classes, /account, /queries, /verdict, /scaling, /labels and
/manifest."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.problems import NotFound
from touchstone_contracts.values import Name
from touchstone_contracts.views import (
    ClassTable,
    ExperimentAccount,
    ExperimentManifest,
    LabelCards,
    Results,
    Scaling,
    SearchedQueries,
    Verdict,
)
from touchstone_store.experiments import registration_of, require_experiment
from touchstone_verdict.costs import priced

from touchstone_api.dependencies import ServicesHere
from touchstone_api.parameters import RowNumber
from touchstone_api.problems import documented
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.tables import csv_table, parquet_table
from touchstone_api.settings import Price

router = APIRouter(prefix="/v1/experiments", tags=["results"])

AskedPrice = Annotated[Price | None, Query(description="Left out: the price of the server's settings, if any")]
CSV, PARQUET, JSON = "text/csv", "application/vnd.apache.parquet", "application/json"
PRICES_LATER = "Added later: the prices of computing came with the request for this verdict."


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
    """What is measured so far; `complete` once every evaluation is in. One row per target, arm, size, seed, metric and
    test set."""
    results = reader.results(experiment)
    if format == "json":
        return results
    headers = {"Content-Disposition": f'attachment; filename="{results.experiment}.{format}"'}
    if format == "csv":
        return Response(csv_table(results.rows), media_type=CSV, headers=headers)
    return Response(parquet_table(results.rows), media_type=PARQUET, headers=headers)


@router.get(
    "/{experiment}/predictions",
    response_class=Response,
    responses={
        200: {"description": "A row for each test image, run and metric", "content": {PARQUET: {}}},
        **documented(404, 503),
    },
)
def get_predictions(experiment: str, reader: ResultsHere) -> Response:
    """Which test images every finished run got right: what the verdict is computed from. `touchstone judge` computes it
    again from this file."""
    headers = {"Content-Disposition": f'attachment; filename="{experiment}.predictions.parquet"'}
    return Response(reader.predictions(experiment), media_type=PARQUET, headers=headers)


@router.get("/{experiment}/classes", responses=documented(404, 409, 422, 503))
def get_classes(
    experiment: str,
    reader: ResultsHere,
    arm: Name,
    size: Annotated[RowNumber, Query(description="0 for the untouched encoder")],
    metric: Metric | None = None,
    target: Name | None = None,
    test_set: Name = MAIN_TEST_SET,
) -> ClassTable:
    """An arm at a size by class, mean over seeds: the largest losses against the untouched encoder first, and the most
    frequent confusions. The target may be left out where there is one, the metric is then the first measured."""
    return reader.class_table(experiment, arm, size, metric, target, test_set)


@router.get("/{experiment}/account", responses=documented(404, 503))
def get_account(experiment: str, reader: ResultsHere) -> ExperimentAccount:
    """What came in so far of the upstream, each split and each data set: images seen, taken and refused, by reason and
    name; and what is to be known of generated images, such as prompts that were cut."""
    return reader.account(experiment)


@router.get("/{experiment}/queries", responses=documented(404, 503))
def get_queries(experiment: str, reader: ResultsHere) -> SearchedQueries:
    """What each finished retrieval arm looked for in captions: every query of words as it was stated and as it was
    searched, and how many captions it found."""
    return reader.searches(experiment)


@router.get("/{experiment}/verdict", responses=documented(404, 409, 503))
def get_verdict(
    experiment: str,
    reader: ResultsHere,
    services: ServicesHere,
    cpu_hour: AskedPrice = None,
    gpu_hour: AskedPrice = None,
) -> Verdict:
    """The comparison of two arms. 409 `not_finished` until both have all their evaluations.

    With the price of an hour of a CPU core and of a GPU, costs are given in money too, in the prices' currency."""
    asked = {"cpu_hour": cpu_hour, "gpu_hour": gpu_hour}
    given = {name: price for name, price in asked.items() if price is not None}
    verdict = priced(reader.verdict(experiment), services.settings.prices.model_copy(update=given))
    later = (*verdict.added_later, PRICES_LATER) if given else verdict.added_later
    return verdict.model_copy(update={"added_later": later})


@router.get(
    "/{experiment}/registration",
    response_class=Response,
    responses={200: {"description": "Canonical JSON", "content": {JSON: {}}}, **documented(404, 503)},
)
def get_registration(experiment: str, services: ServicesHere) -> Response:
    """What was declared when the experiment was posted, as it was stored then: the sha256 of the answer's bytes is the
    `digest` that the verdict shows. 404 where the release that stored the experiment kept none."""
    with services.store.read() as session:
        require_experiment(session, experiment)
        text = registration_of(session, experiment)
    if text is None:
        raise NotFound(
            f"experiment {experiment!r} was posted with a release that kept no registration", code="no_registration"
        )
    return Response(text, media_type=JSON)


@router.get("/{experiment}/scaling", responses=documented(404, 503))
def get_scaling(experiment: str, reader: ResultsHere) -> Scaling:
    """Accuracy as a power law of size, of every arm once every run is in; points beyond measured sizes are marked."""
    return reader.scaling(experiment)


@router.get("/{experiment}/labels", responses=documented(404, 503))
def get_labels(experiment: str, reader: ResultsHere) -> LabelCards:
    """A label card of each arm that trains, at each target: how many labels of its curated images an independent
    encoder agrees with, what their captions say, how many images a class has at each size, and how alike they are. None
    for experiments of before labels were measured. And whether the compared arms can be told apart by their images."""
    return reader.label_cards(experiment)


@router.get("/{experiment}/manifest", responses=documented(404, 503))
def get_manifest(experiment: str, reader: ResultsHere) -> ExperimentManifest:
    """What decides the numbers: the spec, every registered entry with its digests, each step's id, each run's training
    set and the digest of the results. Compare two installations' manifests to see whether they measured the same.
    Beside it, what the numbers were computed with: package versions, processor and GPU of the workers."""
    return reader.manifest(experiment)
