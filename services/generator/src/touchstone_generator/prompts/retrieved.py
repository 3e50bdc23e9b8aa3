"""Prompts that are captions of real images: same captions, synthetic pixels (paper section 2.4)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from touchstone_contracts.catalogue import ClassLabel
from touchstone_runtime.randomness import rng_for

from touchstone_generator.prompts.templates import Prompt, fill, numbered


@dataclass(frozen=True, slots=True)
class FoundCaption:
    """The caption of a real image; may be empty."""

    image_id: str
    class_id: int
    text: str


@dataclass(frozen=True, slots=True)
class CollectedCaption:
    prompt: Prompt
    caption_of: str
    """Id of the image; empty where its class has none."""


def collect_captions(
    found: Sequence[FoundCaption],
    classes: Sequence[ClassLabel],
    templates: Sequence[str],
    images_per_class: int,
    seed: int,
) -> tuple[list[CollectedCaption], dict[str, int]]:
    """`images_per_class` prompts of every class: its captions in an order drawn by `seed`, round and round.

    An empty caption and a class without captions get the templates in turn; the report counts both as
    `template_instead`, and prompts of a further round as `repeated`."""
    prompts: list[CollectedCaption] = []
    report = {"template_instead": 0, "repeated": 0}
    for label in classes:
        own = [caption for caption in found if caption.class_id == label.id]
        drawn = [own[position] for position in rng_for(seed, "captions", label.id).permutation(len(own))]
        chosen = list(islice(cycle(drawn or [FoundCaption("", label.id, "")]), images_per_class))
        prompts += _class_prompts(label, chosen, templates)
        report["template_instead"] += sum(not caption.text.strip() for caption in chosen)
        report["repeated"] += max(0, images_per_class - len(drawn)) if drawn else 0
    return prompts, report


def _class_prompts(
    label: ClassLabel, captions: Sequence[FoundCaption], templates: Sequence[str]
) -> list[CollectedCaption]:
    repeats: Counter[tuple[int, str]] = Counter()
    return [
        CollectedCaption(
            numbered(label, caption.text.strip() or fill(templates[number % len(templates)], label), repeats),
            caption.image_id,
        )
        for number, caption in enumerate(captions)
    ]
