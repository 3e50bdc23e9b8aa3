"""Identities are computed, never chosen: sha256 over canonical JSON of everything that decides a result."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from touchstone_contracts.values import Locator, WhenSet

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def canonical_json(value: object) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def identity_payload(value: Any) -> Any:
    """`value` as plain JSON data without the fields marked `Locator` and those `WhenSet` that are not set."""
    if isinstance(value, BaseModel):
        fields = [(name, field, getattr(value, name)) for name, field in type(value).model_fields.items()]
        return {name: identity_payload(item) for name, field, item in fields if decides(field, item)}
    if isinstance(value, Mapping):
        return {str(key): identity_payload(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [identity_payload(item) for item in value]
    return value


def decides(field: FieldInfo, value: object) -> bool:
    """Whether a field that holds `value` is part of identities."""
    return Locator not in field.metadata and not (WhenSet in field.metadata and value == field.default)


def identity(value: object) -> str:
    """The sha256 that names a value by its content."""
    return sha256(canonical_json(identity_payload(value)))


def derive_seed(*purpose: object) -> int:
    """A 63-bit seed from what it is for, so that a new consumer never shifts another's randomness."""
    return int(identity([str(part) for part in purpose])[:16], 16) >> 1
