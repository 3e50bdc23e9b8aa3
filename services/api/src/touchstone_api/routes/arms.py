"""/v1/experiments/{experiment}/arms/{arm}: what curation did, its candidates, and the sets that encoders train on."""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Response
from touchstone_contracts.media_types import media_type
from touchstone_contracts.problems import NotFound
from touchstone_contracts.steps import ImagesCurated
from touchstone_contracts.values import Name, Seed, Size, StepId
from touchstone_contracts.views import ArmCuration, ImagePage, LinkReport, TrainingImagePage, TrainingSetView
from touchstone_store.layouts import downloads_of

from touchstone_api.cursors import PositionHere
from touchstone_api.parameters import RowNumber
from touchstone_api.problems import documented
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.images import Selection, image_views, parts_of, read_image
from touchstone_api.results.links import links_by_class
from touchstone_api.results.problems import NotFinished
from touchstone_api.results.reader import ResultsReader
from touchstone_api.results.training_sets import Drawn, draw_of, training_images, training_set_view

router = APIRouter(prefix="/v1/experiments/{experiment}/arms/{arm}", tags=["arms"])

TargetName = Annotated[Name | None, Query(description="Needed when the experiment has more than one target")]
AskedSize = Annotated[Size | None, Query(description="One of the experiment's sizes; left out: all that curation kept")]
AskedSeed = Annotated[Seed | None, Query(description="One of the experiment's seeds; left out, with a size: the first")]
IMMUTABLE = "private, max-age=31536000, immutable"
IMAGE_POLICY = "default-src 'none'; sandbox"


@router.get("", responses=documented(404, 409, 422, 503))
def get_arm(experiment: str, arm: str, reader: ResultsHere, target: TargetName = None) -> ArmCuration:
    """How many images were requested, obtained, dropped (and why) and kept, in total and by class, with the scores
    before and after. 409 while the arm is not curated."""
    target, step = reader.curation_step(experiment, arm, target)
    curated = _curated(reader, step, arm)
    return ArmCuration(target=target, arm=arm, counts=curated.counts, report=curated.report)


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
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ImagePage:
    """Every candidate of the arm, kept or dropped; narrowed by class and by `kept`."""
    target, step = reader.curation_step(experiment, arm, target)
    _curated(reader, step, arm)
    pool = reader.finished.pool(step)
    rows = Selection(class_id, kept).rows(pool)
    page, following = position.cut(rows[rows > position.row][: limit + 1].tolist(), limit, str)
    resolved = reader.resolved(experiment)
    parts, url_of = parts_of(resolved.spec, arm), _url_of(experiment, arm, target)
    views = image_views(pool, page, resolved.classes_of(target), parts, url_of)
    return ImagePage(items=tuple(views), next_cursor=following)


@router.get(
    "/images/{image}",
    response_class=Response,
    responses={
        200: {"description": "The encoded image", "content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}}},
        **documented(404, 409, 422, 503),
    },
)
def get_arm_image(experiment: str, arm: str, image: str, reader: ResultsHere, target: TargetName = None) -> Response:
    """The bytes as they were trained on; named by their sha256, so they never change."""
    _, step = reader.curation_step(experiment, arm, target)
    _curated(reader, step, arm)
    data = read_image(reader.finished.artifacts, reader.finished.pool(step), image)
    headers = {"Cache-Control": IMMUTABLE, "ETag": f'"{image}"', "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=media_type(data), headers=headers | {"Content-Security-Policy": IMAGE_POLICY})


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
    found = training_images(drawn, page, resolved, parts_of(resolved.spec, arm), _url_of(experiment, arm, drawn.target))
    return TrainingImagePage(items=tuple(found), next_cursor=following)


def _drawn(
    reader: ResultsReader, experiment: str, arm: str, target: str | None, size: int | None, seed: int | None
) -> Drawn:
    """Raises NotFound, NotFinished, Invalid."""
    target, step = reader.curation_step(experiment, arm, target)
    draw = draw_of(reader.resolved(experiment).spec, arm, size, seed)
    manifest = _curated(reader, step, arm).images.manifest
    recorded = None if draw is None else reader.recorded_training_set(experiment, draw.cell(target, arm))
    rows, digest = reader.training_sets.drawn(manifest, draw, arm)
    return Drawn(target, arm, draw, rows, digest, recorded, len(reader.resolved(experiment).classes_of(target)))


def _url_of(experiment: str, arm: str, target: str) -> Callable[[str], str]:
    """Of an image id: where its bytes are served."""
    images = f"/v1/experiments/{quote(experiment)}/arms/{quote(arm)}/images"
    return lambda image: f"{images}/{image}?{urlencode({'target': target})}"


def _curated(reader: ResultsReader, step: StepId, arm: str) -> ImagesCurated:
    """Raises NotFinished, or MissingObject where the result was lost."""
    if not reader.is_done(step):
        raise NotFinished(f"the images of arm {arm!r} are not curated yet")
    return reader.finished.curated(step)
