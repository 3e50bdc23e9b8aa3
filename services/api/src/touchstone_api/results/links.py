"""Link rot: what the retrieved links of an arm gave, class by class."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.values import StepId
from touchstone_contracts.views import LinkReport, LinksOfClass
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.finished import FinishedSteps

Downloads = Mapping[int, StepId]
"""Class id -> the step that downloads its images; empty where the upstream holds its images itself, and for a mixture,
whose parts tell of their own."""


def link_reports(
    resolved: ResolvedExperiment,
    downloads: Mapping[tuple[str, str], Downloads],
    finished: FinishedSteps,
    done: Collection[StepId],
) -> Iterator[LinkReport]:
    """Of every pool whose images come from links, by (target, arm); `done`: the steps known to have succeeded."""
    for (target, arm), by_class in downloads.items():
        arrived = {class_id: step for class_id, step in by_class.items() if step in done}
        if arrived:
            classes = tuple(links_by_class(arrived, resolved.classes_of(target), finished))
            yield LinkReport(target=target, arm=arm, classes=classes)


def links_by_class(
    downloads: Downloads, classes: Iterable[ClassLabel], finished: FinishedSteps
) -> Iterator[LinksOfClass]:
    """Of the classes whose download has finished."""
    found = finished.downloads(downloads.values())
    for label in (known for known in classes if downloads.get(known.id) in found):
        result = found[downloads[label.id]]
        yield LinksOfClass(
            class_id=label.id,
            display_name=label.display_name,
            requested=result.requested,
            obtained=result.images.count,
            topped_up=result.topped_up,
            reasons=result.rejected,
        )
