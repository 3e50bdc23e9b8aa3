"""Which classes of the target the captions name.

Tokens as in retrieval by words: maximal runs of letters and digits, lower-cased. Names are looked for longest first and
use up their tokens, so that "papua new guinea" does not name Guinea."""

import re
from collections.abc import Iterator, Mapping, Sequence

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.label_card import CaptionNames

from touchstone_retrieval.audit.audited import Audited

Tokens = tuple[str, ...]
_TOKEN = re.compile(r"[^\W_]+")


def measure_captions(audited: Audited) -> CaptionNames | None:
    names = class_names(audited.classes)
    described = [
        (int(label), classes_named(caption, names))
        for caption, label in zip(audited.captions, audited.class_ids, strict=True)
        if caption
    ]
    if not described:
        return None
    return CaptionNames(
        images=len(described),
        own=sum(label in named for label, named in described),
        other=sum(bool(named) and label not in named for label, named in described),
    )


def class_names(classes: Sequence[ClassLabel]) -> dict[Tokens, set[int]]:
    """Tokens of a name -> the classes that are called so."""
    names: dict[Tokens, set[int]] = {}
    for label in classes:
        for name in (label.display_name, label.query, *label.aliases):
            if tokens := _tokens(name):
                names.setdefault(tokens, set()).add(label.id)
    return names


def classes_named(caption: str, names: Mapping[Tokens, set[int]]) -> set[int]:
    longest = max(map(len, names), default=0)
    return {label for found in _found(_tokens(caption), names, longest) for label in found}


def _found(tokens: Tokens, names: Mapping[Tokens, set[int]], longest: int) -> Iterator[set[int]]:
    start = 0
    while start < len(tokens):
        lengths = range(min(longest, len(tokens) - start), 0, -1)
        length = next((length for length in lengths if tokens[start : start + length] in names), 0)
        if length:
            yield names[tokens[start : start + length]]
        start += length or 1


def _tokens(text: str) -> Tokens:
    return tuple(_TOKEN.findall(text.lower()))
