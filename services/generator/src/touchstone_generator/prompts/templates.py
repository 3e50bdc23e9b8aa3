"""Prompts by filling the target's synthesis templates with class names."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from touchstone_contracts.catalogue import ClassLabel, filled
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid


@dataclass(frozen=True, slots=True)
class Prompt:
    """One image to generate."""

    prompt_id: str
    class_id: int
    prompt: str
    index: int
    """Counts the repeats of the same prompt; with the prompt id and the experiment's seed it decides the noise."""


def write_template_prompts(
    classes: Sequence[ClassLabel], templates: Sequence[str], images_per_class: int
) -> list[Prompt]:
    """`images_per_class` prompts for every class, class after class, going round the templates.

    Raises Invalid when there is nothing to fill or to fill it with."""
    if not classes or not templates or images_per_class < 1:
        raise Invalid(
            f"no prompt follows from {len(classes)} classes, {len(templates)} templates, {images_per_class} per class",
            code="no_prompts",
        )
    return [prompt for label in classes for prompt in _class_prompts(label, templates, images_per_class)]


def _class_prompts(label: ClassLabel, templates: Sequence[str], count: int) -> Iterator[Prompt]:
    texts = [fill(template, label) for template in templates]
    # Two templates may read the same once filled, so repeats are counted by prompt and not by template.
    repeats: Counter[tuple[int, str]] = Counter()
    for text in islice(cycle(texts), count):
        yield numbered(label, text, repeats)


def fill(template: str, label: ClassLabel) -> str:
    return filled(template, label.prompt_name)


def numbered(label: ClassLabel, text: str, repeats: Counter[tuple[int, str]]) -> Prompt:
    """The prompt with its number among those of its class that read the same; `repeats` counts on."""
    index = repeats[label.id, text]
    repeats[label.id, text] += 1
    return Prompt(prompt_id=prompt_id(label.id, text), class_id=label.id, prompt=text, index=index)


def prompt_id(class_id: int, prompt: str) -> str:
    """64 bits in hexadecimal. Classes that share a name do not share prompt ids."""
    return identity([class_id, prompt])[:16]
