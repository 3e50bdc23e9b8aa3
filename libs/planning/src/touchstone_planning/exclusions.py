"""What is said to be left out must not be there: each error points at the exclusion."""

from collections.abc import Iterator

from touchstone_contracts.problems import FieldError

from touchstone_planning.resolved import ResolvedExperiment


def contradicted_exclusions(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    """Classes that the registered target has. (The spec itself refuses its own targets and sizes.)"""
    for position, exclusion in enumerate(resolved.spec.exclusions):
        if exclusion.kind == "class":
            names = {label.display_name for label in resolved.classes_of(exclusion.target)}
            if exclusion.class_name in names:
                detail = (
                    f"target {exclusion.target!r} has the class {exclusion.class_name!r}: register a target without "
                    "it, or do not say that it is left out"
                )
                yield FieldError(pointer=f"/exclusions/{position}", detail=detail)
