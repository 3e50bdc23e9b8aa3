"""Facts: what many requests say alike, stored once and named by digest.

A class list of a thousand names would otherwise stand in every run's request. A request field marked `Fact` holds its
value in memory; stored and sent, the field holds `{"fact": digest}`, and the value lies as a blob under that digest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from touchstone_contracts.identity import IdentityTexts, identity_text, sha256
from touchstone_contracts.values import Digest

FEWEST_SHARED = 8
"""Items from which on the stored form of a tuple is made once for all requests that hold it."""


class Fact:
    """Marks a request field that travels as the digest of its value. The value holds no `Locator`: nothing is left
    out of a fact."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_kept, handler(source))


def _kept(value: object, validate: Callable[[object], object]) -> object:
    """Ten thousand classes are not looked at again for each of the requests that name them: a tuple comes from code,
    which has validated what is in it, where documents hold a list, or a dump a tuple of mappings."""
    return value if isinstance(value, tuple) and value and isinstance(value[0], BaseModel | str) else validate(value)


@cache
def fact_fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name, field in model.model_fields.items() if Fact in field.metadata)


@dataclass
class Facts:
    """The facts of some requests, and whatever else many of them hold: each form of it is made once."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    """By the digest of their bytes, canonical JSON."""
    texts: IdentityTexts = field(default_factory=IdentityTexts)
    """Of what requests hold beside facts."""
    _digests: dict[int, tuple[object, Digest]] = field(default_factory=dict)
    _stored: dict[int, tuple[object, Any]] = field(default_factory=dict)
    """As `_digests` by id, with the value, so that the id stays its own."""

    def add(self, value: object) -> Digest:
        known = self._digests.get(id(value))
        if known is None:
            data = identity_text(value).encode()
            known = self._digests[id(value)] = (value, sha256(data))
            self.blobs.setdefault(known[1], data)
        return known[1]

    def stored(self, request: BaseModel, name: str) -> Any:
        """What a field of a request holds, as plain JSON data that must not be changed."""
        value = getattr(request, name)
        known = self._stored.get(id(value))
        if known is None:
            known = self._stored[id(value)] = (value, request.model_dump(mode="json", include={name})[name])
        return known[1]


def reference(digest: Digest) -> dict[str, str]:
    return {"fact": digest}


def references_in(stored: Mapping[str, Any]) -> dict[str, Digest]:
    """The facts that a stored request names, by field."""
    return {name: value["fact"] for name, value in stored.items() if isinstance(value, dict) and set(value) == {"fact"}}


def stored_form(request: BaseModel, facts: Facts) -> dict[str, Any]:
    """A request as it is stored and sent, as plain JSON data. Requests may share parts of it."""
    named = _named(request, facts)
    long = [name for name in type(request).model_fields if name not in named and _is_long(getattr(request, name))]
    shared = {name: facts.stored(request, name) for name in long}
    return request.model_dump(mode="json", exclude={*named, *shared}) | named | shared


def _is_long(value: object) -> bool:
    return isinstance(value, tuple) and len(value) >= FEWEST_SHARED


def identity_form(request: BaseModel, facts: Facts) -> str:
    """A request as its identity sees it: canonical JSON."""
    named = {name: f'{{"fact":"{value["fact"]}"}}' for name, value in _named(request, facts).items()}
    return facts.texts.of_model(request, named)


def _named(request: BaseModel, facts: Facts) -> dict[str, dict[str, str]]:
    """A field that holds nothing is left as it is."""
    fields = {name: getattr(request, name) for name in fact_fields(type(request))}
    return {name: reference(facts.add(value)) for name, value in fields.items() if value not in (None, ())}


def opened(stored: Mapping[str, Any], read: Callable[[Digest], Any]) -> dict[str, Any]:
    """A stored request with the value of every fact instead of its digest; `read` gives a fact's JSON value."""
    return {**stored, **{name: read(digest) for name, digest in references_in(stored).items()}}
