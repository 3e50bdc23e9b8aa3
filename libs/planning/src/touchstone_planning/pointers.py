"""JSON pointers (RFC 6901) into a spec whose keys are classes."""

from collections.abc import Iterable, Iterator

from touchstone_contracts.problems import FieldError
from touchstone_contracts.suggestions import MOST_SUGGESTED, did_you_mean

from touchstone_planning.resolved import ResolvedExperiment


def unknown_classes(resolved: ResolvedExperiment, keys: Iterable[str], pointer: str) -> Iterator[FieldError]:
    unknown = [key for key in keys if key not in resolved.class_keys]
    names = [label.display_name for target in resolved.targets for label in target.classes] if unknown else []
    for at, key in enumerate(unknown):
        meant = did_you_mean(key, names) if at < MOST_SUGGESTED else ""
        detail = "; ".join(filter(None, (f"no target has a class with the name or id {key!r}", meant)))
        yield FieldError(pointer=f"{pointer}/{escaped(key)}", detail=detail)


def escaped(key: str) -> str:
    """As a token of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
