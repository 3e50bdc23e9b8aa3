"""Which classes of the target the captions name.

Words as in retrieval by words. Names are looked for longest first and use up their words, so that "papua new guinea"
does not name Guinea."""

from collections.abc import Iterator, Mapping, Sequence

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.label_card import CaptionNames
from touchstone_runtime.words import Words, words_of_each

from touchstone_retrieval.audit.audited import Audited


def measure_captions(audited: Audited) -> CaptionNames | None:
    names = class_names(audited.classes)
    described = [
        (int(label), classes_named(words, names))
        for words, caption, label in zip(
            words_of_each(audited.captions), audited.captions, audited.class_ids, strict=True
        )
        if caption
    ]
    if not described:
        return None
    return CaptionNames(
        images=len(described),
        own=sum(label in named for label, named in described),
        other=sum(bool(named) and label not in named for label, named in described),
    )


def class_names(classes: Sequence[ClassLabel]) -> dict[Words, set[int]]:
    """Words of a name -> the classes that are called so."""
    called = [(name, label.id) for label in classes for name in (label.display_name, label.query, *label.aliases)]
    names: dict[Words, set[int]] = {}
    for words, (_, label) in zip(words_of_each([name for name, _ in called]), called, strict=True):
        if words:
            names.setdefault(words, set()).add(label)
    return names


def classes_named(caption: Words, names: Mapping[Words, set[int]]) -> set[int]:
    longest = max(map(len, names), default=0)
    return {label for found in _found(caption, names, longest) for label in found}


def _found(words: Words, names: Mapping[Words, set[int]], longest: int) -> Iterator[set[int]]:
    start = 0
    while start < len(words):
        lengths = range(min(longest, len(words) - start), 0, -1)
        length = next((length for length in lengths if words[start : start + length] in names), 0)
        if length:
            yield names[words[start : start + length]]
        start += length or 1
