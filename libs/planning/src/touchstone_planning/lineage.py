"""Where the images of the compared arms come from, as far as somebody brought them."""

from collections.abc import Iterator

from touchstone_contracts.steps import GivenImages
from touchstone_contracts.values import Name

from touchstone_planning.ancestry import with_ancestors
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment


def given_images(resolved: ResolvedExperiment, *arms: Name) -> Iterator[GivenImages]:
    """The data sets of the experiment's targets that an arm names, or an arm that it is made from."""

    def sources(name: Name) -> Iterator[Name]:
        arm = resolved.arm(name)
        return (source.name for source in planner_of(arm).sources(arm))

    targets = {target.name for target in resolved.targets}
    for name in arms:
        for ancestor in sorted(with_ancestors(name, sources)):
            arm = resolved.arm(ancestor)
            for dataset in map(resolved.dataset, planner_of(arm).needs(arm).datasets):
                if dataset.target in targets:
                    yield GivenImages(
                        arm=name,
                        dataset=dataset.name,
                        origin=dataset.origin,
                        made_by=dataset.made_by,
                        trained_on=dataset.trained_on,
                    )
