"""What a pipeline is told by text: each distinct prompt encoded once, alone."""

from collections.abc import Sequence
from typing import Any

import torch
from touchstone_contracts.arms.generation import Sampler


class TextConditions:
    """Text conditions of one pipeline and sampler."""

    def __init__(self, pipeline: Any, sampler: Sampler) -> None:
        self._pipeline, self._sampler = pipeline, sampler
        self._embeddings: dict[str, torch.Tensor] = {}

    def of(self, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Arguments of the pipeline's call, with the negative prompt where the sampler guides."""
        conditions = {"prompt_embeds": torch.cat([self._embed(prompt) for prompt in prompts])}
        if self._sampler.guidance_scale > 1:  # diffusers guides above 1 only
            negative = self._embed(self._sampler.negative_prompt)
            conditions["negative_prompt_embeds"] = negative.expand(len(prompts), -1, -1)
        return conditions

    def _embed(self, prompt: str) -> torch.Tensor:
        """(1, tokens, width). Always encoded alone: a prompt's numbers must not depend on its company."""
        if prompt not in self._embeddings:
            encoded, _ = self._pipeline.encode_prompt(
                prompt, self._pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
            self._embeddings[prompt] = encoded
        return self._embeddings[prompt]


def count_truncated(pipeline: Any, prompts: Sequence[str]) -> int:
    """How many of `prompts` are longer than the text encoder's context and lose their last words."""
    tokenizer = pipeline.tokenizer
    too_long = {
        prompt: len(tokenizer(prompt, verbose=False).input_ids) > tokenizer.model_max_length for prompt in set(prompts)
    }
    return sum(too_long[prompt] for prompt in prompts)
