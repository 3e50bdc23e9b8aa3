"""Captions for each class in the paper's modes, asked of a writer until they name their class (section 2.1)."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from touchstone_contracts.arms.prompts import CaptionMode, LanguageModel, ModeShares
from touchstone_contracts.catalogue import ClassLabel, ids_by_key
from touchstone_contracts.identity import derive_seed
from touchstone_runtime.randomness import rng_for

from touchstone_generator.prompts.naming import names_class
from touchstone_generator.prompts.templates import Prompt, fill, numbered
from touchstone_generator.prompts.words import BACKGROUNDS, RELATIONS

TEMPLATE = "template"
"""Mode and writer of a caption that was replaced by a template."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One caption that is wanted."""

    label: ClassLabel
    mode: CaptionMode
    detail: str
    """The relation or the scene; empty in the other modes."""
    seed: int
    """Decides everything the writer leaves to chance."""
    class_word: str = ""
    """Follows the class's name."""

    @property
    def name(self) -> str:
        """What the caption is to be about, e.g. "A320 aircraft"."""
        return f"{self.label.prompt_name} {self.class_word}".rstrip()


CaptionWriter = Callable[[Sequence[Ask]], list[str]]
"""One caption per ask, in order; the same asks always get the same captions."""


@dataclass(frozen=True, slots=True)
class Caption:
    prompt: Prompt
    mode: str
    writer: str


def write_captions(
    classes: Sequence[ClassLabel],
    templates: Sequence[str],
    images_per_class: int,
    request: LanguageModel,
    seed: int,
    write: CaptionWriter,
) -> tuple[list[Caption], dict[str, int]]:
    """`images_per_class` captions of every class, class after class.

    Caption k of a class depends on the seed, the class and k alone, never on how many are asked for. The report counts
    the captions that were written again (`rewritten`), those a template stands in for (`template_instead`) and, where
    the request keeps them, those that do not name their class (`unnamed`)."""
    keys = [(label, number) for label in classes for number in range(images_per_class)]
    scenes = _scenes(classes, request)
    asks = [_ask(label, number, request, scenes.get(label.id, ()), seed) for label, number in keys]
    texts: list[str | None] = [None] * len(asks)
    report = {"rewritten": 0, "template_instead": 0}
    for attempt in range(request.attempts):
        missing = [position for position, text in enumerate(texts) if text is None]
        if not missing:
            break
        report["rewritten"] += len(missing) if attempt else 0
        written = write([_again(asks[position], attempt) for position in missing])
        for position, text in zip(missing, written, strict=True):
            texts[position] = text if _stays(text, asks[position].label, request) else None
    report["template_instead"] = texts.count(None)
    if request.unnamed == "kept":
        named = [text is None or names_class(text, ask.label) for text, ask in zip(texts, asks, strict=True)]
        report["unnamed"] = named.count(False)
    return list(_captions(keys, asks, texts, templates, request.writer.kind)), report


def _stays(text: str, label: ClassLabel, request: LanguageModel) -> bool:
    return bool(text.strip()) if request.unnamed == "kept" else names_class(text, label)


def _scenes(classes: Sequence[ClassLabel], request: LanguageModel) -> dict[int, Sequence[str]]:
    """By class id, of the classes that have scenes of their own."""
    scenes: dict[int, Sequence[str]] = {}
    ids = ids_by_key(classes)
    for key, own in request.class_backgrounds.items():
        scenes |= dict.fromkeys(ids.get(key, ()), own)
    return scenes


def _ask(label: ClassLabel, number: int, request: LanguageModel, scenes: Sequence[str], seed: int) -> Ask:
    rng = rng_for(seed, "caption", label.id, number)
    mode = _draw_mode(request.modes, rng)
    details: dict[CaptionMode, Sequence[str]] = {
        "relation": RELATIONS,
        "background": scenes or request.backgrounds or BACKGROUNDS,
    }
    choices = details.get(mode, ("",))
    detail = choices[int(rng.integers(len(choices)))]
    return Ask(label, mode, detail, derive_seed(seed, "caption text", label.id, number), request.class_word)


def _draw_mode(shares: ModeShares, rng: np.random.Generator) -> CaptionMode:
    modes: list[CaptionMode] = ["class_only", "relation", "background", "texture"]
    weights = np.array([getattr(shares, mode) for mode in modes])
    return modes[rng.choice(len(modes), p=weights / weights.sum())]


def _again(ask: Ask, attempt: int) -> Ask:
    return replace(ask, seed=derive_seed(ask.seed, attempt))


def _captions(
    keys: Sequence[tuple[ClassLabel, int]],
    asks: Sequence[Ask],
    texts: Sequence[str | None],
    templates: Sequence[str],
    writer: str,
) -> Iterator[Caption]:
    repeats: Counter[tuple[int, str]] = Counter()
    for (label, number), ask, text in zip(keys, asks, texts, strict=True):
        if text is None:
            instead = fill(templates[number % len(templates)], label)
            yield Caption(numbered(label, instead, repeats), TEMPLATE, TEMPLATE)
        else:
            yield Caption(numbered(label, text, repeats), ask.mode, writer)
