"""What a pipeline is told by text: the prompts of a batch encoded together, the negative prompt once."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from touchstone_contracts.arms.generation import Sampler


class TextConditions:
    """Text conditions of one pipeline and sampler."""

    def __init__(self, pipeline: Any, sampler: Sampler) -> None:
        self._pipeline, self._sampler = pipeline, sampler

    def of(self, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Arguments of the pipeline's call, with the negative prompt where the sampler guides.

        `prompts` fill a batch, all of whose slots are encoded: a prompt's numbers may depend on the shape of its batch,
        not on its company."""
        conditions = {"prompt_embeds": self._encode(prompts)}
        if self._sampler.guidance_scale > 1:  # diffusers guides above 1 only
            conditions["negative_prompt_embeds"] = self._negative.expand(len(prompts), -1, -1)
        return conditions

    @cached_property
    def _negative(self) -> torch.Tensor:
        return self._encode([self._sampler.negative_prompt])

    def _encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """(prompts, tokens, width)"""
        encoded: torch.Tensor
        encoded, _ = self._pipeline.encode_prompt(
            list(prompts), self._pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return encoded


def count_truncated(pipeline: Any, prompts: Sequence[str]) -> int:
    """How many of `prompts` are longer than the text encoder's context and lose their last words."""
    tokenizer = pipeline.tokenizer
    too_long = {
        prompt: len(tokenizer(prompt, verbose=False).input_ids) > tokenizer.model_max_length for prompt in set(prompts)
    }
    return sum(too_long[prompt] for prompt in prompts)
