"""The inputs of a step, as the types of its request declare them."""

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from touchstone_contracts.values import STEP, StepId


class Indirect:
    """Marks a field whose steps are inputs of another input already: reading them needs no waiting of its own."""


Remembered = dict[int, tuple[object, tuple[StepId, ...]]]
"""The steps in tuples that several requests hold, by the tuple's id, with the tuple, so that the id stays its own."""


def inputs_of(request: BaseModel, remembered: Remembered | None = None) -> tuple[StepId, ...]:
    """Every step that the request names in a field declared as StepId, each once, in order of appearance."""
    return tuple(dict.fromkeys(_walk(request, {} if remembered is None else remembered)))


def _walk(value: BaseModel, remembered: Remembered) -> Iterator[StepId]:
    for name, is_step in _fields_with_steps(type(value)):
        held = getattr(value, name)
        if isinstance(held, tuple) and held:
            known = remembered.get(id(held))
            if known is None:
                known = remembered[id(held)] = (held, tuple(_steps(held, is_step, remembered)))
            yield from known[1]
        else:
            yield from _steps(held, is_step, remembered)


def _steps(value: Any, is_step: bool, remembered: Remembered) -> Iterator[StepId]:
    if isinstance(value, str):
        if is_step:
            yield value
    elif isinstance(value, BaseModel):
        yield from _walk(value, remembered)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _steps(item, is_step, remembered)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _steps(item, is_step, remembered)


@cache
def _fields_with_steps(model: type[BaseModel]) -> tuple[tuple[str, bool], ...]:
    """Fields that may hold steps: directly, or in models that do."""
    found = []
    for name, field in model.model_fields.items():
        if Indirect in field.metadata:
            continue
        is_step = STEP in field.metadata or _mentions_step(field.annotation)
        if is_step or _mentions_model(field.annotation):
            found.append((name, is_step))
    return tuple(found)


def _mentions_step(annotation: Any) -> bool:
    return STEP in getattr(annotation, "__metadata__", ()) or any(_mentions_step(part) for part in get_args(annotation))


def _mentions_model(annotation: Any) -> bool:
    """Whether a model with steps in it may stand there; unions that others extend count as models."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return bool(_fields_with_steps(annotation))
    return any(_mentions_model(part) for part in get_args(annotation) if part is not None)
