"""Captions for each class in the paper's modes, asked of a writer until they name their class (section 2.1)."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.arms.prompts import CaptionMode, LanguageModel, ModeShares
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.identity import derive_seed
from touchstone_runtime.randomness import rng_for

from touchstone_generator.prompts.naming import names_class
from touchstone_generator.prompts.templates import Prompt, fill, numbered
from touchstone_generator.prompts.words import BACKGROUNDS, RELATIONS

TEMPLATE = "template"
"""Mode and writer of a caption that a template took the place of."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One caption that is wanted."""

    label: ClassLabel
    mode: CaptionMode
    detail: str
    """The relation or the scene; empty in the other modes."""
    seed: int
    """Decides everything the writer leaves to chance."""


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
    the captions that were written again (`rewritten`) and those a template stands in for (`template_instead`)."""
    keys = [(label, number) for label in classes for number in range(images_per_class)]
    asks = [_ask(label, number, request, seed) for label, number in keys]
    texts: list[str | None] = [None] * len(asks)
    report = {"rewritten": 0, "template_instead": 0}
    for attempt in range(request.attempts):
        open_places = [place for place, text in enumerate(texts) if text is None]
        if not open_places:
            break
        report["rewritten"] += len(open_places) if attempt else 0
        written = write([_again(asks[place], attempt) for place in open_places])
        for place, text in zip(open_places, written, strict=True):
            texts[place] = text if names_class(text, asks[place].label) else None
    report["template_instead"] = texts.count(None)
    return list(_captions(keys, asks, texts, templates, request.writer.kind)), report


def _ask(label: ClassLabel, number: int, request: LanguageModel, seed: int) -> Ask:
    rng = rng_for(seed, "caption", label.id, number)
    mode = _draw_mode(request.modes, rng)
    details: dict[CaptionMode, Sequence[str]] = {
        "relation": RELATIONS,
        "background": request.backgrounds or BACKGROUNDS,
    }
    choices = details.get(mode, ("",))
    return Ask(
        label, mode, choices[int(rng.integers(len(choices)))], derive_seed(seed, "caption text", label.id, number)
    )


def _draw_mode(shares: ModeShares, rng: np.random.Generator) -> CaptionMode:
    modes: list[CaptionMode] = ["class_only", "relation", "background", "texture"]
    weights = np.array([getattr(shares, mode) for mode in modes])
    return modes[rng.choice(len(modes), p=weights / weights.sum())]


def _again(ask: Ask, attempt: int) -> Ask:
    return Ask(ask.label, ask.mode, ask.detail, derive_seed(ask.seed, attempt))


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
