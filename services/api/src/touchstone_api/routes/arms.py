"""/v1/experiments/{experiment}/arms/{arm}: a training set's counts by curation stage, and its images."""

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Response
from touchstone_contracts.problems import NotFound
from touchstone_contracts.steps import ImagesCurated
from touchstone_contracts.values import Name, StepId
from touchstone_contracts.views import ArmCuration, ImagePage, LinkReport
from touchstone_store.layouts import downloads_of

from touchstone_api.cursors import PositionHere
from touchstone_api.parameters import RowNumber
from touchstone_api.problems import documented
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.images import Selection, image_views, media_type, parts_of, read_image
from touchstone_api.results.links import links_by_class
from touchstone_api.results.problems import NotFinished
from touchstone_api.results.reader import ResultsReader

router = APIRouter(prefix="/v1/experiments/{experiment}/arms/{arm}", tags=["arms"])

TargetName = Annotated[Name | None, Query(description="Needed when the experiment has more than one target")]
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
    place = f"/v1/experiments/{quote(experiment)}/arms/{quote(arm)}/images"
    views = image_views(
        pool,
        page,
        resolved.classes_of(target),
        parts_of(resolved.spec, arm),
        lambda image: f"{place}/{image}?{urlencode({'target': target})}",
    )
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


def _curated(reader: ResultsReader, step: StepId, arm: str) -> ImagesCurated:
    """Raises NotFinished, or MissingObject where the result was lost."""
    if not reader.is_done(step):
        raise NotFinished(f"the images of arm {arm!r} are not curated yet")
    return reader.finished.curated(step)
