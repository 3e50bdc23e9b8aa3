"""Identities are computed, never chosen: sha256 over canonical JSON of everything that decides a result."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from touchstone_contracts.values import AddedLater, Locator

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def canonical_json(value: object) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def identity_payload(value: Any) -> Any:
    """`value` as plain JSON data without the fields that a marker leaves out (`Locator`, `AddedLater`)."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {n: identity_payload(getattr(value, n)) for n, f in fields.items() if _decides(f, getattr(value, n))}
    if isinstance(value, Mapping):
        return {str(key): identity_payload(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [identity_payload(item) for item in value]
    return value


def _decides(field: FieldInfo, value: Any) -> bool:
    if Locator in field.metadata:
        return False
    return AddedLater not in field.metadata or value != field.default


def identity(value: object) -> str:
    """The sha256 that names a value by its content."""
    return sha256(canonical_json(identity_payload(value)))


def derive_seed(*purpose: object) -> int:
    """A 63-bit seed from what it is for, so that a new consumer never shifts another's randomness."""
    return int(identity([str(part) for part in purpose])[:16], 16) >> 1
