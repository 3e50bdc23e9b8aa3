"""/v1/experiments/{experiment}/arms/{arm}: what curation did, its candidates, and the sets that encoders train on."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from touchstone_contracts.problems import NotFound
from touchstone_contracts.values import Name, Seed, Size
from touchstone_contracts.views import (
    ArmCuration,
    CandidateImage,
    ImagePage,
    LinkReport,
    TrainingImagePage,
    TrainingRuns,
    TrainingSetView,
)
from touchstone_store.layouts import downloads_of

from touchstone_api.cursors import PositionHere
from touchstone_api.parameters import RowNumber
from touchstone_api.problems import documented
from touchstone_api.results.candidates import CandidateReader
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.images import ArmAddresses, Selection, image_views, parts_of, read_image, row_of_image
from touchstone_api.results.links import links_by_class
from touchstone_api.results.reader import ResultsReader
from touchstone_api.results.runs import training_runs
from touchstone_api.results.training_sets import Drawn, draw_of, drawn_images, training_images, training_set_view
from touchstone_api.routes.image_bytes import ENCODED_IMAGE, image_bytes

router = APIRouter(prefix="/v1/experiments/{experiment}/arms/{arm}", tags=["arms"])

TargetName = Annotated[Name | None, Query(description="Needed when the experiment has more than one target")]
AskedSize = Annotated[Size | None, Query(description="One of the experiment's sizes; left out: all that curation kept")]
AskedSeed = Annotated[Seed | None, Query(description="One of the experiment's seeds; left out, with a size: the first")]
Reason = Annotated[str | None, Query(max_length=100, description="Only images that were dropped for this reason")]
PoolRow = Annotated[
    RowNumber | None,
    Query(description="Of several rows that hold the image, the one that is meant; left out: the first"),
]


@router.get("", responses=documented(404, 409, 422, 503))
def get_arm(experiment: str, arm: str, reader: ResultsHere, target: TargetName = None) -> ArmCuration:
    """How many images were requested, obtained, dropped (and why), kept and drawn for each size, in total and by class,
    with the scores before and after. 409 while the arm is not curated."""
    target, step = reader.curation_step(experiment, arm, target)
    curated = reader.curated(step, arm)
    spec = reader.planned(experiment).spec
    drawn = drawn_images(spec, arm, curated.counts.kept, lambda: reader.finished.pool(step))
    return ArmCuration(target=target, arm=arm, counts=curated.counts, report=curated.report, drawn=drawn)


@router.get("/links", responses=documented(404, 422, 503))
def get_arm_links(experiment: str, arm: str, reader: ResultsHere, target: TargetName = None) -> LinkReport:
    """Link rot by class: images requested, obtained, and why not. 404 where the upstream holds its images itself."""
    target, step = reader.curation_step(experiment, arm, target)
    with reader.store.read() as session:
        downloads = downloads_of(session, step)
    if not downloads:
        raise NotFound(f"arm {arm!r} downloads nothing: its images do not come from links")
    found = tuple(links_by_class(downloads, reader.resolved(experiment).classes_of(target), reader.finished))
    return LinkReport(target=target, arm=arm, classes=found)


@router.get("/images", responses=documented(404, 409, 422, 503))
def get_arm_images(
    experiment: str,
    arm: str,
    reader: ResultsHere,
    position: PositionHere,
    target: TargetName = None,
    class_id: RowNumber | None = None,
    kept: bool | None = None,
    drop_reason: Reason = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ImagePage:
    """Every candidate of the arm, kept or dropped; narrowed by class, by `kept` and by the reason for dropping it."""
    target, step = reader.curated_pool(experiment, arm, target)
    pool, selection = reader.finished.pool(step), Selection(class_id, kept, drop_reason)
    rows = selection.rows(pool)
    page, following = position.cut(rows[rows > position.row][: limit + 1].tolist(), limit, str)
    resolved, addresses = reader.resolved(experiment), ArmAddresses(experiment, arm, target)
    parts = parts_of(resolved.spec, arm)
    views = image_views(pool, page, resolved.classes_of(target), parts, addresses, selection)
    return ImagePage(items=tuple(views), next_cursor=following)


@router.get(
    "/images/{image}", response_class=Response, responses={200: ENCODED_IMAGE, **documented(404, 409, 422, 503)}
)
def get_arm_image(experiment: str, arm: str, image: str, reader: ResultsHere, target: TargetName = None) -> Response:
    """The bytes as they were trained on; named by their sha256, so they never change."""
    _, step = reader.curated_pool(experiment, arm, target)
    pool = reader.finished.pool(step)
    return image_bytes(image, read_image(reader.finished.artifacts, pool, row_of_image(pool, image)))


@router.get("/images/{image}/details", responses=documented(404, 409, 422, 503))
def get_arm_image_details(
    experiment: str, arm: str, image: str, reader: ResultsHere, target: TargetName = None, row: PoolRow = None
) -> CandidateImage:
    """Everything that is stored about one candidate: where it comes from, its scores, the most similar held-out images,
    and why curation kept or dropped it."""
    target, step = reader.curated_pool(experiment, arm, target)
    candidates = CandidateReader(reader, ArmAddresses(experiment, arm, target), step)
    return candidates.read(row_of_image(reader.finished.pool(step), image, row), Selection())


@router.get("/runs", responses=documented(404, 422, 503))
def get_arm_runs(
    experiment: str,
    arm: str,
    reader: ResultsHere,
    target: TargetName = None,
    size: Annotated[Size | None, Query(description="One of the experiment's sizes; left out: the largest")] = None,
) -> TrainingRuns:
    """Training loss and validation accuracy of every epoch, of each run of the arm that has finished at a size."""
    return training_runs(reader, experiment, arm, size, target)


@router.get("/training-set", responses=documented(404, 409, 422, 503))
def get_training_set(
    experiment: str,
    arm: str,
    reader: ResultsHere,
    target: TargetName = None,
    size: AskedSize = None,
    seed: AskedSeed = None,
) -> TrainingSetView:
    """How many images of each class an encoder of the arm trains on at a size and with a seed; without a size, how many
    are in the curated pool that all sizes are drawn from. 409 while the arm is not curated."""
    return training_set_view(_drawn(reader, experiment, arm, target, size, seed))


@router.get("/training-set/images", responses=documented(404, 409, 422, 503))
def get_training_images(
    experiment: str,
    arm: str,
    reader: ResultsHere,
    position: PositionHere,
    target: TargetName = None,
    size: AskedSize = None,
    seed: AskedSeed = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> TrainingImagePage:
    """The images of a training set with what is known of where each comes from, in the order in which the trainer draws
    them; those of a whole pool by class and id."""
    drawn = _drawn(reader, experiment, arm, target, size, seed)
    rows = range(position.row + 1, min(position.row + limit + 2, drawn.rows.num_rows))
    page, following = position.cut(rows, limit, str)
    resolved = reader.resolved(experiment)
    addresses = ArmAddresses(experiment, arm, drawn.target)
    found = training_images(drawn, page, resolved, parts_of(resolved.spec, arm), addresses)
    return TrainingImagePage(items=tuple(found), next_cursor=following)


def _drawn(
    reader: ResultsReader, experiment: str, arm: str, target: str | None, size: int | None, seed: int | None
) -> Drawn:
    """Raises NotFound, NotFinished, Invalid."""
    target, step = reader.curation_step(experiment, arm, target)
    draw = draw_of(reader.resolved(experiment).spec, arm, size, seed)
    manifest = reader.curated(step, arm).images.manifest
    recorded = None if draw is None else reader.recorded_training_set(experiment, draw.cell(target, arm))
    rows, digest = reader.training_sets.drawn(manifest, draw, arm)
    return Drawn(target, arm, draw, rows, digest, recorded, len(reader.resolved(experiment).classes_of(target)))
