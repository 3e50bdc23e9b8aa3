"""What differs between the specs of experiments: a row for each setting, a value for each experiment."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from touchstone_contracts.experiment import ExperimentSpec

Path = tuple[str, ...]
NOT_SET = "\N{EM DASH}"
"""Shown where a spec has no such setting."""


@dataclass(frozen=True)
class Difference:
    path: str
    """The names of the objects that hold the setting, with dots between them, as `arms.synthetic.images`."""
    values: tuple[str, ...]
    """One for each spec, in their order."""


def spec_differences(specs: Sequence[ExperimentSpec]) -> list[Difference]:
    """In the order of the first spec that has the setting. The name is left out: it decides no result."""
    found = [dict(flattened(spec.model_dump(mode="json", exclude={"name"}))) for spec in specs]
    paths = dict.fromkeys(path for settings in found for path in settings)
    rows = [(path, tuple(settings.get(path, NOT_SET) for settings in found)) for path in paths]
    return [Difference(".".join(path), values) for path, values in rows if len(set(values)) > 1]


def flattened(value: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every value of a JSON document with its path. Objects of a list are known by their `name` where all have one of
    their own, else by their position; a list of plain values is one value."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flattened(inner, (*path, str(name)))
    elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        for name, entry in zip(_names(value), value, strict=True):
            yield from flattened(entry, (*path, name))
    else:
        yield path, _words(value)


def _names(entries: Sequence[object]) -> list[str]:
    names = [entry.get("name") for entry in entries if isinstance(entry, Mapping)]
    if len(set(map(str, names))) == len(entries) and all(isinstance(name, str) for name in names):
        return [str(name) for name in names]
    return [str(number) for number in range(len(entries))]


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return ", ".join(_words(entry) for entry in value)
    return json.dumps(value, ensure_ascii=False)
