"""JSON pointers (RFC 6901) into a spec whose keys are classes."""

from collections.abc import Iterable, Iterator

from touchstone_contracts.problems import FieldError

from touchstone_planning.resolved import ResolvedExperiment


def unknown_classes(resolved: ResolvedExperiment, keys: Iterable[str], pointer: str) -> Iterator[FieldError]:
    for key in keys:
        if key not in resolved.class_keys:
            detail = f"no target has a class with the name or id {key!r}"
            yield FieldError(pointer=f"{pointer}/{escaped(key)}", detail=detail)


def escaped(key: str) -> str:
    """As a token of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
