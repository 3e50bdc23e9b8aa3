"""Arms made from other arms: which they name, and what makes such a chain impossible."""

from collections.abc import Iterator

from touchstone_contracts.arms import Arm
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.mixture import Mixture
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.problems import FieldError
from touchstone_contracts.values import Name

from touchstone_planning.ancestry import with_ancestors
from touchstone_planning.resolve import ResolvedExperiment


def sources(arm: Arm) -> Iterator[tuple[str, Name]]:
    """JSON pointer below the arm, and name, of every arm whose curated pool this one is made from."""
    if isinstance(arm, Perturbation):
        yield "/parent", arm.parent
    if isinstance(arm, Mixture):
        yield from ((f"/parts/{position}/arm", part.arm) for position, part in enumerate(arm.parts))
    if isinstance(arm, Generation):
        if arm.prompts.kind == "retrieved_captions":
            yield "/prompts/arm", arm.prompts.arm
        if arm.tune is not None and arm.tune.images.kind == "arm":
            yield "/tune/images/arm", arm.tune.images.arm


def broken_lineage(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    """Every reference to an arm or split that is not there, yields no such images, or leads back to itself."""
    arms = {arm.name: arm for arm in resolved.spec.arms}
    for position, arm in enumerate(resolved.spec.arms):
        for pointer, name in sources(arm):
            if detail := _objection(arm, name, arms):
                yield FieldError(pointer=f"/arms/{position}{pointer}", detail=detail)
        if _tuned_on_target(arm):
            for target in resolved.targets:
                if target.splits.train is None:
                    detail = f"target {target.name!r} has no training split to tune on"
                    yield FieldError(pointer=f"/arms/{position}/tune/images", detail=detail)


def _objection(arm: Arm, source: Name, arms: dict[str, Arm]) -> str:
    """Why `source` cannot be what `arm` is made from; empty if it can."""
    if source not in arms:
        return f"no arm named {source!r}; there are {sorted(arms)}"
    if arm.name in with_ancestors(source, lambda name: _known_sources(arms, name)):
        return f"arm {arm.name!r} would be made from itself"
    kind = arms[source].kind
    if isinstance(arm, Generation) and kind != "retrieval":
        return f"arm {source!r} is of kind {kind!r}, only a retrieval arm has real images with captions"
    if isinstance(arm, Mixture) and kind == "mixture":
        return f"arm {source!r} is a mixture itself; name its parts instead"
    return f"arm {source!r} yields no images" if kind == "none" else ""


def _known_sources(arms: dict[str, Arm], name: Name) -> Iterator[Name]:
    return (source for _, source in sources(arms[name]) if source in arms)


def _tuned_on_target(arm: Arm) -> bool:
    return isinstance(arm, Generation) and arm.tune is not None and arm.tune.images.kind == "target_train"
