"""Images of registered data sets: they are ingested as a split of the target is."""

from collections.abc import Iterator

from touchstone_contracts.arms.given import Given
from touchstone_contracts.catalogue import ClassFolders, Dataset, Target
from touchstone_contracts.problems import FieldError

from touchstone_planning.arms.planner import ByClassPlanner, Needs, pointer_to
from touchstone_planning.dag import PlannedImages, PoolOf, TargetContext, ingested
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.splits import shared_files


class GivenPlanner(ByClassPlanner[Given]):
    spec = Given

    def describe(self, arm: Given) -> str:
        return f"labelled images of {', '.join(arm.datasets)}, before curation"

    def needs(self, arm: Given) -> Needs:
        return Needs(datasets=arm.datasets)

    def impossible(self, arm: Given, resolved: ResolvedExperiment) -> Iterator[FieldError]:
        pointer = f"{pointer_to(arm, resolved)}/datasets"
        for target in resolved.targets:
            own = _own(arm, target, resolved)
            if not own:
                yield FieldError(pointer=pointer, detail=f"none of these data sets is of target {target.name!r}")
            for dataset in own:
                classes = len(target.classes)
                folders = len(dataset.images.folders) if isinstance(dataset.images, ClassFolders) else classes
                if folders != classes:
                    detail = f"{dataset.name!r} has {folders} folders, {target.name!r} {classes} classes"
                    yield FieldError(pointer=f"{pointer}/{arm.datasets.index(dataset.name)}", detail=detail)
                for split, file in _held_out(dataset, target):
                    detail = f"{dataset.name!r} names the images of {target.name!r} that are its {split} split: {file}"
                    yield FieldError(pointer=f"{pointer}/{arm.datasets.index(dataset.name)}", detail=detail)

    def most_candidates(self, arm: Given, target: Target, resolved: ResolvedExperiment) -> int:
        return sum(dataset.images.images for dataset in _own(arm, target, resolved))

    def most_per_class(self, arm: Given, target: Target, resolved: ResolvedExperiment) -> int:
        """All may be of one class."""
        return self.most_candidates(arm, target, resolved)

    def most_images(self, arm: Given, target: Target, resolved: ResolvedExperiment) -> int:
        return min(super().most_images(arm, target, resolved), self.most_candidates(arm, target, resolved))

    def plan_candidates(self, arm: Given, context: TargetContext, role: str, pool_of: PoolOf) -> list[PlannedImages]:
        plan, classes = context.plan, len(context.target.classes)
        own = {f"{role}/{dataset.name}": dataset for dataset in _own(arm, context.target, context.resolved)}
        return [
            PlannedImages(ingested(plan, dataset.images, name, dataset.most_losses, classes), name)
            for name, dataset in own.items()
        ]


def _held_out(dataset: Dataset, target: Target) -> Iterator[tuple[str, str]]:
    """The splits that no arm may train on and whose images the data set names, and the first such file."""
    for name, split in target.splits.by_name.items():
        if name != "train" and (shared := shared_files(dataset.images, split)):
            yield name, shared[0].location


def _own(arm: Given, target: Target, resolved: ResolvedExperiment) -> list[Dataset]:
    """Those of the target, in the order in which the arm names them."""
    named = [resolved.dataset(name) for name in arm.datasets]
    return [dataset for dataset in named if dataset.target == target.name]
