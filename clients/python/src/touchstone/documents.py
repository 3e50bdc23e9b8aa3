"""Study and catalogue files: YAML (and so JSON too)."""

from pathlib import Path
from typing import Any

import yaml


class UnreadableDocument(Exception):
    """Not YAML, or no mapping at its top."""


def read_document(path: Path) -> dict[str, Any]:
    """Raises UnreadableDocument, which says where the file goes wrong."""
    try:
        # CSafeLoader is libyaml: a catalogue of hundreds of classes takes a tenth of the time.
        document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UnreadableDocument(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableDocument(f"{path} holds a {type(document).__name__}, not a mapping")
    return document


def parse_changes(assignments: list[str]) -> dict[str, Any]:
    """`sizes=[8,16]` and `curation.ranking=score` as one JSON merge patch; values are YAML."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        place, equals, text = assignment.partition("=")
        if not equals or not place:
            raise UnreadableDocument(f"{assignment!r} is not written as field=value")
        *parents, leaf = place.split(".")
        level = changes
        for parent in parents:
            level = level.setdefault(parent, {})
        level[leaf] = yaml.safe_load(text)
    return changes
