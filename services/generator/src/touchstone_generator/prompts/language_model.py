"""A local causal language model as writer: a few examples, then the query left open (paper section 2.1)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from touchstone_contracts.arms.prompts import TransformersWriter
from touchstone_contracts.problems import Invalid
from touchstone_runtime.done_items import DoneItems, resumed
from touchstone_runtime.library import Library
from touchstone_runtime.models import find_model, snapshot
from touchstone_runtime.savepoints import NO_SAVEPOINTS, Savepoints
from touchstone_runtime.serving import ProgressFunction, no_progress
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from touchstone_generator.devices import arithmetic
from touchstone_generator.prompts.captions import Ask
from touchstone_generator.prompts.examples import BANKS, EXAMPLES_SHOWN

NEEDED = ("*.safetensors", "*.json", "*.model", "*.txt")
"""Weights as safetensors only, configuration, vocabularies."""


class CausalWriter:
    """A CaptionWriter around a transformers model. Batches are filled in the order of the asks; every caption draws its
    tokens from a random stream of its own."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: TransformersWriter,
        progress: ProgressFunction = no_progress,
        savepoints: Savepoints = NO_SAVEPOINTS,
    ) -> None:
        self._model, self._tokenizer, self._settings, self._progress = model, tokenizer, settings, progress
        self._savepoints, self._calls = savepoints, 0
        tokenizer.padding_side = "left"  # the continuation starts where the prompt ends
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        """Each call of a step is a list of its own in its savepoints: what is asked follows from the calls before."""
        self._calls += 1
        done = DoneItems(self._savepoints, f"captions-{self._calls}", arithmetic(self._model.device))
        return [caption.decode() for caption in resumed(done, lambda count: self._batches(asks, count))]

    def _batches(self, asks: Sequence[Ask], done: int) -> Iterator[list[bytes]]:
        """Captions in UTF-8, without the first `done`; batches begin at multiples of their size."""
        size = self._settings.batch_size
        for start in range(done, len(asks), size):
            captions = self._continue(asks[start : start + size])
            self._progress(start + len(captions), len(asks))
            yield [caption.encode() for caption in captions]

    def _continue(self, asks: Sequence[Ask]) -> list[str]:
        inputs = self._tokenizer([few_shot_prompt(ask) for ask in asks], return_tensors="pt", padding=True)
        inputs = inputs.to(self._model.device)
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs,
                do_sample=False,  # the largest of the perturbed logits is the sample
                logits_processor=self._sampling([ask.seed for ask in asks]),
                max_new_tokens=self._settings.max_new_tokens,
                stop_strings="\n",
                tokenizer=self._tokenizer,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        new = tokens[:, inputs["input_ids"].shape[1] :]
        return [first_line(text) for text in self._tokenizer.batch_decode(new, skip_special_tokens=True)]

    def _sampling(self, seeds: Sequence[int]) -> LogitsProcessorList:
        return LogitsProcessorList(
            [
                TemperatureLogitsWarper(self._settings.temperature),
                TopPLogitsWarper(self._settings.top_p),
                SeededGumbel(seeds),
            ]
        )


class SeededGumbel(LogitsProcessor):
    """Adds Gumbel noise to the logits of each row: the largest is then a draw from their softmax (Gumbel-max trick).
    transformers' own sampling has one random state for the whole batch."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(batch, vocabulary) -> the same shape."""
        uniform = torch.stack([torch.rand(scores.shape[1], generator=generator) for generator in self._generators])
        return scores - torch.log(-torch.log(uniform.clamp_min(1e-20))).to(scores.device)


def few_shot_prompt(ask: Ask) -> str:
    """Instruction, three examples of the mode, and the ask with its caption left open."""
    bank = BANKS[ask.mode]
    shown = np.random.default_rng(ask.seed).choice(len(bank.examples), EXAMPLES_SHOWN, replace=False)
    examples = [f"{query} => {caption}" for query, caption in (bank.examples[position] for position in shown)]
    query = ", ".join(part for part in (ask.name, ask.detail) if part)
    return "\n".join([bank.instruction, *examples, f"{query} =>"])


def first_line(text: str) -> str:
    """What was written before the first line end; a new line starts the model's next example."""
    return text.split("\n", 1)[0].strip()


def load_causal_model(settings: TransformersWriter, library: Library, device: torch.device) -> tuple[Any, Any]:
    """Model and tokenizer. Raises Invalid when the location is missing, its digest is another or transformers cannot
    load it as safetensors, Transient when the hub cannot be reached."""
    folder = find_model(settings, library, snapshot(NEEDED)).folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder,
            trust_remote_code=False,
            local_files_only=True,
            split_special_tokens=True,  # the name of a special token in a class name is text
        )
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            dtype=torch.float16 if device.type == "cuda" else torch.float32,
            use_safetensors=True,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise Invalid(f"transformers cannot load {settings.model}: {error}", code="writer_unloadable") from error
    return model.to(device).eval(), tokenizer
