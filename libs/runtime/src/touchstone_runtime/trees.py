"""Nested values as JSON and a list of arrays: what lets a training state be stored as safetensors, without pickles."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

ArrayT = TypeVar("ArrayT")

_ARRAY, _MAPPING, _LIST, _TUPLE = "array", "mapping", "list", "tuple"


def taken_apart(value: Any, array: type[ArrayT]) -> tuple[Any, list[ArrayT]]:
    """(JSON in which every array is its number, arrays). Dictionaries of any keys that JSON knows as values, lists,
    tuples, numbers, texts and None. Raises TypeError for anything else."""
    arrays: list[ArrayT] = []
    return _as_json(value, array, arrays), arrays


def _as_json(value: Any, array: type[ArrayT], arrays: list[ArrayT]) -> Any:
    if isinstance(value, array):
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, Mapping):
        return {_MAPPING: [[key, _as_json(item, array, arrays)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = _TUPLE if isinstance(value, tuple) else _LIST
        return {kind: [_as_json(item, array, arrays) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be stored in a savepoint")


def put_together(json: Any, arrays: Sequence[ArrayT]) -> Any:
    """What was taken apart. Raises KeyError, IndexError, TypeError or ValueError for any other JSON."""
    if not isinstance(json, dict):
        return json
    [(kind, items)] = json.items()
    if kind == _ARRAY:
        return arrays[items]
    if kind == _MAPPING:
        return {key: put_together(item, arrays) for key, item in items}
    return {_LIST: list, _TUPLE: tuple}[kind](put_together(item, arrays) for item in items)
