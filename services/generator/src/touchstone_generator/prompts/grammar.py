"""A writer that needs no model: the target's synthesis templates continued by mode with words from lists."""

from collections.abc import Sequence

import numpy as np
from touchstone_contracts.catalogue import filled

from touchstone_generator.prompts.captions import Ask
from touchstone_generator.prompts.words import FINISHES, OBJECTS, SURFACES


class GrammarWriter:
    """A CaptionWriter. Its captions name their class, because every template does."""

    def __init__(self, templates: Sequence[str]) -> None:
        self._templates = templates

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        return [self._caption(ask) for ask in asks]

    def _caption(self, ask: Ask) -> str:
        rng = np.random.default_rng(ask.seed)
        subject = filled(_one_of(self._templates, rng), ask.name).rstrip(". ")
        match ask.mode:
            case "relation":
                return f"{subject} {ask.detail} {_one_of(OBJECTS, rng)}"
            case "background":
                return f"{subject} with {ask.detail} in the background"
            case "texture":
                return f"{subject} covering {_one_of(SURFACES, rng)}"
            case "class_only":
                return f"{subject} {_one_of(FINISHES, rng)}".strip()


def _one_of(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
