"""Study and catalogue files: YAML (and so JSON too)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from touchstone_contracts.changes import apply_changes
from touchstone_contracts.experiment import ExperimentSpec

from touchstone.errors import TouchstoneError

Study = ExperimentSpec | Mapping[str, Any] | str | Path
"""A spec, a dictionary, YAML text, or the path of a YAML file."""


class UnreadableDocument(TouchstoneError):
    """Not YAML, or no mapping at its top."""


def read_document(path: Path) -> dict[str, Any]:
    """Raises UnreadableDocument, which says where the file goes wrong."""
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise UnreadableDocument(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UnreadableDocument(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> dict[str, Any]:
    """The mapping that YAML `text` holds; `name` stands in messages. Raises UnreadableDocument."""
    document = _parse_yaml(text, name)
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise UnreadableDocument(f"{name} holds {found}; a mapping such as `name: my study` is expected at its top")
    return document


def _parse_yaml(text: str, name: str) -> Any:
    try:
        # CSafeLoader is libyaml: a catalogue of hundreds of classes takes a tenth of the time.
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableDocument(f"{name} is not YAML: {where}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableDocument(f"{name} is not YAML: {' '.join(str(error).split())}") from error


def spec_document(study: Study) -> dict[str, Any]:
    """The document to post. A string with a line break or `: ` in it is YAML text, any other is a path.

    Raises UnreadableDocument."""
    if isinstance(study, ExperimentSpec):
        return study.model_dump(mode="json")
    if isinstance(study, Mapping):
        return dict(study)
    if isinstance(study, str) and ("\n" in study or ": " in study):
        return parse_document(study, "the text")
    path = Path(study)
    return read_document(path / "study.yaml" if path.is_dir() else path)


def read_study(path: Path) -> list[dict[str, Any]]:
    """The experiments of a study: one file is one; a folder has `study.yaml` and, of it, the `variants.yaml` if any.

    `variants.yaml` holds what differs from the study, by name (`apply_changes`)."""
    if not path.is_dir():
        return [read_document(path)]
    study, file = read_document(path / "study.yaml"), path / "variants.yaml"
    variants = read_document(file) if file.exists() else {}
    for name, changes in variants.items():
        if not isinstance(changes, dict):
            raise UnreadableDocument(f"{file}: variant {name!r} is not a mapping of fields to their new values")
    return [study, *(apply_changes(study, changes) for changes in variants.values())]


def parse_changes(assignments: list[str]) -> dict[str, Any]:
    """`sizes=[8,16]` and `curation.ranking=score` as one document of changes; values are YAML."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        field, equals, text = assignment.partition("=")
        *parents, leaf = field.split(".")
        if not equals or not all((*parents, leaf)):
            raise UnreadableDocument(f"{assignment!r} is not written as field=value or field.field=value")
        level = changes
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise UnreadableDocument(f"{assignment!r} sets a field of {parent!r}, which is set to a value as well")
        level[leaf] = _parse_yaml(text, f"the value of {assignment!r}")
    return changes
