"""What an experiment asks of an upstream of links that came without embeddings of its images: they are downloaded once
they have been found, so nothing can compare them before."""

from collections.abc import Iterator

from touchstone_contracts.problems import FieldError

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment


def missing_image_embeddings(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    if resolved.upstream.searches_images:
        return
    without = f"upstream {resolved.upstream.name!r} has links and captions, and no embeddings of its images"
    asked = [each for arm in resolved.spec.arms for each in planner_of(arm).images_compared(arm, resolved)]
    for pointer, instead in dict.fromkeys(asked):
        yield FieldError(pointer=pointer, detail=f"{without}: {instead}")
