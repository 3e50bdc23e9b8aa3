"""Link rot: what the retrieved links of an arm gave, class by class."""

from collections.abc import Iterable, Iterator

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.steps import DOWNLOAD_IMAGES, CurateImages, DownloadImages
from touchstone_contracts.values import StepId
from touchstone_contracts.views import LinksOfClass
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MissingObject

from touchstone_api.experiments.dag import Plan


def downloads_of(plan: Plan, curation: StepId) -> dict[int, StepId]:
    """Class id -> the step that downloads its images; empty where the upstream holds its images itself."""
    requests = {step.id: step.request for step in plan.steps}
    curate = requests[curation]
    assert isinstance(curate, CurateImages)
    candidates = ((part.images, requests[part.images]) for part in curate.candidates)
    return {request.class_id: step for step, request in candidates if isinstance(request, DownloadImages)}


def links_by_class(
    downloads: dict[int, StepId], classes: Iterable[ClassLabel], artifacts: Artifacts
) -> Iterator[LinksOfClass]:
    """Of the classes whose download has finished."""
    for label in classes:
        try:
            result = artifacts.result(DOWNLOAD_IMAGES, downloads[label.id])
        except MissingObject:
            continue
        yield LinksOfClass(
            class_id=label.id,
            display_name=label.display_name,
            requested=result.requested,
            obtained=result.images.count,
            topped_up=result.topped_up,
            reasons=result.rejected,
        )
