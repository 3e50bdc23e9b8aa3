"""Study and catalogue files: YAML (and so JSON too)."""

from pathlib import Path
from typing import Any

import yaml
from touchstone_contracts.changes import apply_changes


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


def read_study(path: Path) -> list[dict[str, Any]]:
    """The experiments of a study: one file is one; a folder has `study.yaml` and, of it, the `variants.yaml` if any.

    `variants.yaml` holds what differs from the study, by name (`apply_changes`)."""
    if not path.is_dir():
        return [read_document(path)]
    study, file = read_document(path / "study.yaml"), path / "variants.yaml"
    variants = read_document(file) if file.exists() else {}
    return [study, *(apply_changes(study, changes) for changes in variants.values())]


def parse_changes(assignments: list[str]) -> dict[str, Any]:
    """`sizes=[8,16]` and `curation.ranking=score` as one document of changes; values are YAML."""
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
