"""Identities are computed, never chosen: sha256 over canonical JSON of everything that decides a result."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from touchstone_contracts.values import Locator, WhenSet

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_SCALARS: dict[type, Callable[[Any], str]] = {
    str: _CANONICAL.encode,
    float: _CANONICAL.encode,
    int: int.__repr__,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}
_ALWAYS = object()
"""Equal to no value of a field."""
NOTHING_WRITTEN: Mapping[str, str] = {}


def canonical_json(value: object) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN: the same value always gives the same bytes."""
    return _CANONICAL.encode(value).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def deciding_fields(model: type[BaseModel]) -> tuple[tuple[str, str, object], ...]:
    """(name, its JSON with a colon, value that does not count) in the order of canonical JSON: every field but those
    marked `Locator`; one marked `WhenSet` does not count while it holds its default."""
    return tuple(
        (name, f"{_CANONICAL.encode(name)}:", field.default if WhenSet in field.metadata else _ALWAYS)
        for name, field in sorted(model.model_fields.items())
        if Locator not in field.metadata
    )


class IdentityTexts:
    """Canonical JSON of values as their identities see them: without what does not decide a result.

    The text of a model or tuple is written once, however many values hold it. They are kept, so that the ids by which
    they are known stay their own, and must not change."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, str]] = {}

    def of(self, value: Any) -> str:
        """Raises TypeError or ValueError for what JSON cannot hold."""
        scalar = _SCALARS.get(type(value))
        if scalar is not None:
            return scalar(value)
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        written = self._written(value)
        if isinstance(value, BaseModel | tuple):
            self._known[id(value)] = (value, written)
        return written

    def _written(self, value: Any) -> str:
        if isinstance(value, BaseModel):
            return self.of_model(value)
        if isinstance(value, tuple | list):
            return f"[{','.join(map(self.of, value))}]"
        if isinstance(value, Mapping):
            texts = {str(key): self.of(item) for key, item in value.items()}
            return f"{{{','.join(f'{_CANONICAL.encode(key)}:{texts[key]}' for key in sorted(texts))}}}"
        return _CANONICAL.encode(value)

    def of_model(self, model: BaseModel, written: Mapping[str, str] = NOTHING_WRITTEN) -> str:
        """`written`: the texts of fields that others have written, by name."""
        entries = []
        for name, key, idle in deciding_fields(type(model)):
            value = getattr(model, name)
            if value != idle:
                entries.append(key + (written[name] if name in written else self.of(value)))
        return f"{{{','.join(entries)}}}"


def identity_text(value: object) -> str:
    return IdentityTexts().of(value)


def identity(value: object) -> str:
    """The sha256 that names a value by its content."""
    return sha256(identity_text(value).encode())


def derive_seed(*purpose: object) -> int:
    """A 63-bit seed from what it is for, so that a new consumer never shifts another's randomness."""
    return int(identity([str(part) for part in purpose])[:16], 16) >> 1
