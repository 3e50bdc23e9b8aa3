"""What classes are called in queries, prompts and the zero-shot head."""

from collections.abc import Iterator

from touchstone_contracts.catalogue import ClassNames
from touchstone_contracts.problems import FieldError
from touchstone_contracts.steps import NAME_CLASSES, NameClasses
from touchstone_contracts.values import StepId

from touchstone_planning.dag import TargetContext
from touchstone_planning.resolved import ResolvedExperiment


def plan_names(names: ClassNames, context: TargetContext) -> StepId | None:
    """The step that counts names in the upstream's captions, where they decide; the same for all who ask."""
    if names == "given":
        return None
    shards = tuple(shard.images for shard in context.upstream.shards)
    request = NameClasses(images=shards, classes=context.target.classes)
    return context.plan.add(NAME_CLASSES, request, f"{context.target.name}/names")


def without_choice(names: ClassNames, resolved: ResolvedExperiment, pointer: str) -> Iterator[FieldError]:
    """Targets whose classes have one name each."""
    for target in resolved.targets:
        if names == "most_frequent" and not any(label.aliases for label in target.classes):
            detail = f"no class of target {target.name!r} has an alias: register it with synonyms, or leave this out"
            yield FieldError(pointer=pointer, detail=detail)


def in_words(names: ClassNames) -> str:
    """After what an arm is."""
    return ", classes called by their most frequent name" if names == "most_frequent" else ""
