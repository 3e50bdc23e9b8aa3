"""Everything that is registered by name: listed and shown alike."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from touchstone_contracts.byte_words import byte_words
from touchstone_contracts.suggestions import unknown

from touchstone.client import Client
from touchstone.errors import UnknownName
from touchstone.names import one_of
from touchstone.problems import NotFound


@dataclass(frozen=True)
class Kind:
    """One kind of entry: how its list and one of it are asked for, and a row of its table."""

    singular: str
    listed: Callable[[Client], Iterator[Any]]
    one: Callable[[Client, str], Any]
    headings: tuple[str, ...]
    row: Callable[[Any], tuple[str, ...]]


KINDS = {
    "upstreams": Kind(
        "upstream",
        lambda client: client.upstreams(),
        lambda client, name: client.upstream(name),
        ("name", "images", "phase", "steps", "held"),
        lambda each: (
            each.name,
            f"{each.images:,}",
            each.phase,
            f"{each.steps.succeeded}/{each.steps.total}",
            byte_words(each.stored.total),
        ),
    ),
    "targets": Kind(
        "target",
        lambda client: client.targets(),
        lambda client, name: client.target(name),
        ("name", "classes", "test images", "description"),
        lambda each: (each.name, str(each.classes), f"{each.splits.test.images:,}", each.description),
    ),
    "datasets": Kind(
        "dataset",
        lambda client: client.datasets(),
        lambda client, name: client.dataset(name),
        ("name", "target", "images", "origin", "made by"),
        lambda each: (each.name, each.target, f"{each.images.images:,}", each.origin or "", each.made_by or ""),
    ),
    "encoders": Kind(
        "encoder",
        lambda client: client.encoders(),
        lambda client, name: client.encoder(name),
        ("name", "kind", "trained on", "model"),
        lambda each: (each.name, each.kind, each.trained_on or "", each.model),
    ),
    "generators": Kind(
        "generator",
        lambda client: client.generators(),
        lambda client, name: client.generator(name),
        ("name", "image size", "trained on", "model"),
        lambda each: (each.name, str(each.image_size), each.trained_on or "", each.model),
    ),
}
"""By the name of its list."""


def kind_named(text: str) -> Kind:
    """By its plural or singular. Raises UnknownName."""
    singular = {kind.singular: kind for kind in KINDS.values()}
    return KINDS.get(text) or singular[one_of("kind of entry", text, [*singular, *KINDS])]


def names_entry(text: str) -> bool:
    """Whether it is written KIND/NAME."""
    kind, slash, _ = text.partition("/")
    return bool(slash) and kind in {*KINDS, *(each.singular for each in KINDS.values())}


def registered(client: Client, path: str) -> Any:
    """The entry that `target/flags` or `targets/flags` names. Raises UnknownName, which suggests the nearest."""
    text, _, name = path.partition("/")
    kind = kind_named(text)
    if not name:
        raise UnknownName(f"{path!r} names no {kind.singular}; write {kind.singular}/NAME")
    try:
        return kind.one(client, name)
    except NotFound as error:
        raise _unknown(kind, name, [each.name for each in kind.listed(client)]) from error


def _unknown(kind: Kind, name: str, names: Sequence[str]) -> UnknownName:
    return UnknownName(unknown(kind.singular, name, names))
