"""What a pipeline is told to show: texts that were encoded, texts, or classes."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from inspect import signature
from typing import Any

import torch
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.problems import Invalid, in_words
from transformers import CLIPTokenizer

from touchstone_generator.execution import compute_device
from touchstone_generator.pipelines import tokenizers

SCHNELL_TOKENS = 256
"""What FLUX.1-schnell was distilled with (black-forest-labs/FLUX.1-schnell on https://huggingface.co)."""
MOST_NAMED = 10
"""Names of classes that an error lists."""


class Conditions(ABC):
    """`of` gives arguments of the pipeline's call for the prompts that fill a batch.

    All slots of a batch are filled and padded alike: a prompt's numbers may depend on the shape of its batch, not on
    its company."""

    @abstractmethod
    def of(self, prompts: Sequence[str]) -> dict[str, Any]: ...


def conditions(pipeline: Any, sampler: Sampler) -> Conditions:
    """Raises Invalid for a negative prompt where the pipeline takes none."""
    if "class_labels" in accepted(pipeline):
        return ClassLabels(pipeline)
    if sampler.negative_prompt and not _negates(pipeline):
        detail = f"a {type(pipeline).__name__} has no negative prompts; leave it out"
        raise Invalid(detail, code="negative_prompt_unsupported")
    if sampler.steps == 1 and type(pipeline).__name__ == "PixArtAlphaPipeline":
        # There it asks the scheduler for an answer that only a distilled model's scheduler gives.
        raise Invalid("a PixArtAlphaPipeline takes at least 2 steps", code="steps_unsupported")
    if type(pipeline).__name__.startswith(("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")):
        return TextConditions(pipeline, sampler)
    return Texts(pipeline, sampler)


def accepted(pipeline: Any) -> frozenset[str]:
    """Names of the arguments of the pipeline's call."""
    return frozenset(signature(type(pipeline).__call__).parameters)


def _negates(pipeline: Any) -> bool:
    # FLUX's own guidance is distilled; its negative prompt belongs to a second guidance that nobody asks for here.
    return "negative_prompt" in accepted(pipeline) and "true_cfg_scale" not in accepted(pipeline)


class ClassLabels(Conditions):
    """Of a class-conditional pipeline: a prompt is the name of a class in the pipeline's own table of labels, whose
    entries are names with commas between; or a whole entry, or its number."""

    def __init__(self, pipeline: Any) -> None:
        self._numbers = _numbers_by_name(pipeline.config.get("id2label") or {})

    def of(self, prompts: Sequence[str]) -> dict[str, Any]:
        self.require(prompts)
        return {"class_labels": [next(iter(self._numbers[_folded(prompt)])) for prompt in prompts]}

    def require(self, prompts: Sequence[str]) -> None:
        """Raises Invalid with every name that the table does not have, or has for several classes."""
        found = {prompt: self._numbers.get(_folded(prompt), set()) for prompt in prompts}
        absent = sorted(prompt for prompt, numbers in found.items() if not numbers)
        if absent:
            raise Invalid(
                f"the generator's table of labels has no class named {_listed(absent)}; register the generator with "
                "its family, and give each class of the target a label of the generator, or the label's number, as its "
                "synthesis_name",
                code="unknown_label",
            )
        several = sorted(prompt for prompt, numbers in found.items() if len(numbers) > 1)
        if several:
            raise Invalid(
                f"the generator's table of labels has several classes named {_listed(several)}; give each class of the "
                "target the number of the label as its synthesis_name",
                code="ambiguous_label",
            )


def _numbers_by_name(labels: dict[str, str]) -> dict[str, set[int]]:
    numbers: dict[str, set[int]] = {}
    for number, label in labels.items():
        for name in {_folded(name) for name in (number, label, *label.split(","))}:
            numbers.setdefault(name, set()).add(int(number))
    return numbers


def _folded(name: str) -> str:
    return " ".join(str(name).casefold().split())


def _listed(names: Sequence[str]) -> str:
    shown = [json.dumps(name, ensure_ascii=False) for name in names[:MOST_NAMED]]
    return in_words(shown + ([f"{len(names) - MOST_NAMED} others"] if len(names) > MOST_NAMED else []), "or")


class Texts(Conditions):
    """Of a pipeline that encodes its prompts itself, with one or several text encoders."""

    def __init__(self, pipeline: Any, sampler: Sampler) -> None:
        self._negative = sampler.negative_prompt
        settings = {
            # Cleaning depends on which packages are there, binning gives another size than was asked for.
            "clean_caption": False,
            "use_resolution_binning": False,
            "max_sequence_length": longest(pipeline),
        }
        self._settings = {name: value for name, value in settings.items() if name in accepted(pipeline)}

    def of(self, prompts: Sequence[str]) -> dict[str, Any]:
        negative = {"negative_prompt": [self._negative] * len(prompts)} if self._negative else {}
        return {"prompt": list(prompts), **negative, **self._settings}


class TextConditions(Conditions):
    """Of Stable Diffusion: the prompts of a batch encoded together, the negative prompt once."""

    def __init__(self, pipeline: Any, sampler: Sampler) -> None:
        self._pipeline, self._sampler = pipeline, sampler

    def of(self, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """With the negative prompt where the sampler guides."""
        encoded = {"prompt_embeds": self._encode(prompts)}
        if self._sampler.guidance_scale > 1:  # diffusers guides above 1 only
            encoded["negative_prompt_embeds"] = self._negative.expand(len(prompts), -1, -1)
        return encoded

    @cached_property
    def _negative(self) -> torch.Tensor:
        return self._encode([self._sampler.negative_prompt])

    def _encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """(prompts, tokens, width)"""
        encoded: torch.Tensor
        encoded, _ = self._pipeline.encode_prompt(
            list(prompts), compute_device(self._pipeline), num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return encoded


def longest(pipeline: Any) -> int | None:
    """Tokens that a pipeline with a T5 or a Gemma reads of a prompt; None where all its encoders are CLIP's."""
    parameters = signature(type(pipeline).__call__).parameters
    if "max_sequence_length" not in parameters:
        return None
    usual = int(parameters["max_sequence_length"].default)
    distilled = "true_cfg_scale" in parameters and not pipeline.transformer.config.guidance_embeds
    return min(usual, SCHNELL_TOKENS) if distilled else usual


def count_truncated(pipeline: Any, prompts: Sequence[str]) -> int:
    """How many of `prompts` are longer than the text encoder's context and lose their last words. Of several text
    encoders the one that reads most decides."""
    limits = [(tokenizer, _limit(pipeline, tokenizer)) for tokenizer in tokenizers(pipeline)]
    too_long = {prompt: all(_tokens(pipeline, kind, prompt) > most for kind, most in limits) for prompt in set(prompts)}
    return sum(too_long[prompt] for prompt in prompts) if limits else 0


def _limit(pipeline: Any, tokenizer: Any) -> int:
    most = longest(pipeline)
    if most is None or isinstance(tokenizer, CLIPTokenizer):
        return int(tokenizer.model_max_length)
    # Sana's instruction stands before the prompt and uses up one token.
    return most - 1 if "complex_human_instruction" in accepted(pipeline) else most


def _tokens(pipeline: Any, tokenizer: Any, prompt: str) -> int:
    read = prompt.lower().strip() if "clean_caption" in accepted(pipeline) else prompt
    return len(tokenizer(read, verbose=False).input_ids)
