"""/experiments/{experiment}/arms/{arm}/images: the candidates of an arm as pages, and one image with all its facts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse
from touchstone_contracts.values import StepId

from touchstone_api.access.authorise import PageReader
from touchstone_api.cursors import PositionHere
from touchstone_api.dashboard.rendering import html_page
from touchstone_api.parameters import RowNumber
from touchstone_api.results.candidates import CandidateReader
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.images import ArmAddresses, Selection, image_views, parts_of, reason_words, row_of_image
from touchstone_api.results.reader import ResultsReader
from touchstone_api.routes.arms import TargetName

if TYPE_CHECKING:
    import pyarrow as pa

router = APIRouter(prefix="/experiments/{experiment}/arms/{arm}/images", include_in_schema=False)

IMAGES_PER_PAGE = 60


def selection_of_query(
    class_id: Annotated[str, Query(max_length=10)] = "", show: Annotated[str, Query(max_length=100)] = ""
) -> Selection:
    """Raises Invalid."""
    return Selection.of_query(class_id, show)


SelectionHere = Annotated[Selection, Depends(selection_of_query)]


@router.get("", response_class=HTMLResponse)
def show_images(
    experiment: str,
    arm: str,
    principal: PageReader,
    reader: ResultsHere,
    position: PositionHere,
    selection: SelectionHere,
    target: TargetName = None,
) -> HTMLResponse:
    """Thumbnails, chosen by class and by what curation did; each leads to the image's page."""
    addresses, step = _pool(reader, experiment, arm, target)
    pool, resolved = reader.finished.pool(step), reader.resolved(experiment)
    rows = selection.rows(pool)
    page, following = position.cut(rows[rows > position.row][: IMAGES_PER_PAGE + 1].tolist(), IMAGES_PER_PAGE, str)
    classes, parts = resolved.classes_of(addresses.target), parts_of(resolved.spec, arm)
    facts: dict[str, Any] = {
        "spec": resolved.spec,
        "addresses": addresses,
        "selection": selection,
        "classes": classes,
        "reasons": _reasons(pool),
        "total": len(rows),
        "images": list(image_views(pool, page, classes, parts, addresses, selection)),
        "following": following and f"{addresses.list_of(selection)}&{urlencode({'cursor': following})}",
    }
    return html_page("images.html", csrf=principal.csrf, **facts)


@router.get("/{image}", response_class=HTMLResponse)
def show_image(
    experiment: str,
    arm: str,
    image: str,
    principal: PageReader,
    reader: ResultsHere,
    selection: SelectionHere,
    target: TargetName = None,
    row: RowNumber | None = None,
) -> HTMLResponse:
    """One image at full size with everything that is stored about it. Scripts show the same over other pages."""
    addresses, step = _pool(reader, experiment, arm, target)
    pool = reader.finished.pool(step)
    number, rows = row_of_image(pool, image, row), selection.rows(pool)
    before, after = int(np.searchsorted(rows, number)), int(np.searchsorted(rows, number, side="right"))

    def page_of(neighbours: Sequence[int]) -> str | None:
        return next((addresses.page_of(pool["id"][other].as_py(), other, selection) for other in neighbours), None)

    found = CandidateReader(reader, addresses, step).read(number, selection)
    parent = ArmAddresses(experiment, found.parent_arm, addresses.target) if found.parent_arm else None
    facts: dict[str, Any] = {
        "image": found,
        "spec": reader.planned(experiment).spec,
        "addresses": addresses,
        "parent_page": parent.page_of(found.parent, None, Selection()) if parent else None,
        "previous": page_of(rows[:before][::-1][:1].tolist()),
        "following": page_of(rows[after : after + 1].tolist()),
        "position": before + 1 if after > before else None,
        "total": len(rows),
        "list_address": addresses.list_of(selection),
        "reason_words": reason_words(),
    }
    return html_page("image.html", csrf=principal.csrf, **facts)


def _pool(reader: ResultsReader, experiment: str, arm: str, target: str | None) -> tuple[ArmAddresses, StepId]:
    """Raises NotFound, Invalid, NotFinished."""
    target, step = reader.curated_pool(experiment, arm, target)
    return ArmAddresses(experiment, arm, target), step


def _reasons(pool: "pa.Table") -> list[tuple[str, str, int]]:
    """(reason, words, images) of those that dropped any, in the order of the stages."""
    import pyarrow.compute as pc

    counted = {row["values"]: row["counts"] for row in pc.value_counts(pool["drop_reason"]).to_pylist()}
    return [(reason, words, counted[reason]) for reason, words in reason_words().items() if reason in counted]
