"""Facts: what many requests say alike, stored once and named by digest.

A class list of a thousand names would otherwise stand in every run's request. A request field marked `Fact` holds its
value in memory; stored and sent, its place holds `{"fact": digest}`, and the value lies as a blob under that digest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel

from touchstone_contracts.identity import canonical_json, decides, identity_payload, sha256
from touchstone_contracts.values import Digest


class Fact:
    """Marks a request field that travels as the digest of its value. The value holds no `Locator`: nothing is left
    out of a fact."""


@cache
def fact_fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name, field in model.model_fields.items() if Fact in field.metadata)


@dataclass
class Facts:
    """The facts of some requests, each stored form made once however many requests name it."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    """By the digest of their bytes, canonical JSON."""
    _known: dict[object, tuple[object, Digest]] = field(default_factory=dict)

    def add(self, value: object) -> Digest:
        key = _identity_in_memory(value)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        data = canonical_json(identity_payload(value))
        digest = sha256(data)
        self.blobs[digest] = data
        # The value is held, so that the ids in its key stay its own.
        self._known[key] = value, digest
        return digest


def _identity_in_memory(value: object) -> object:
    """Two values with the same key are the same. A request copies a tuple that it is given, not what is in it."""
    if isinstance(value, tuple):
        return tuple(item if isinstance(item, str) else id(item) for item in value)
    return id(value)


def reference(digest: Digest) -> dict[str, str]:
    return {"fact": digest}


def references_in(stored: Mapping[str, Any]) -> dict[str, Digest]:
    """The facts that a stored request names, by field."""
    return {name: value["fact"] for name, value in stored.items() if isinstance(value, dict) and set(value) == {"fact"}}


def stored_form(request: BaseModel, facts: Facts) -> dict[str, Any]:
    """A request as it is stored and sent, as plain JSON data."""
    named = _named(request, facts)
    return request.model_dump(mode="json", exclude=set(named)) | named


def identity_form(request: BaseModel, facts: Facts) -> dict[str, Any]:
    """A request as its identity sees it."""
    named = _named(request, facts)
    model = type(request)
    rest = {name: getattr(request, name) for name in model.model_fields if name not in named}
    return {
        name: identity_payload(value) for name, value in rest.items() if decides(model.model_fields[name], value)
    } | named


def _named(request: BaseModel, facts: Facts) -> dict[str, dict[str, str]]:
    """A field that holds nothing is left as it is."""
    model = type(request)
    fields = {name: getattr(request, name) for name in fact_fields(model)}
    return {name: reference(facts.add(value)) for name, value in fields.items() if value not in (None, ())}


def opened(stored: Mapping[str, Any], read: Callable[[Digest], Any]) -> dict[str, Any]:
    """A stored request with every fact in its place; `read` gives a fact's JSON value."""
    return {**stored, **{name: read(digest) for name, digest in references_in(stored).items()}}
