"""Captions by a language model: its logits as on the CPU, and the same captions twice."""

from collections.abc import Iterator

import torch
from gpu.findings import CPU, Finding, Setting, close, same_bytes
from support.tiny_language_model import tiny_writer
from touchstone_contracts.catalogue import ClassLabel
from touchstone_generator.prompts.captions import Ask
from touchstone_generator.prompts.language_model import CausalWriter, load_causal_model
from touchstone_runtime.library import Library

TOLERANCE = 1e-2
"""Relative: fp16 on a GPU against fp32."""


def parity_and_bytes(setting: Setting) -> Iterator[Finding]:
    writer, library = tiny_writer(setting.folder, max_new_tokens=8, batch_size=2), Library(setting.folder)
    reference, tokenizer = load_causal_model(writer, library, CPU)
    candidate, _ = load_causal_model(writer, library, setting.device)
    tokens = tokenizer("a photo of a red square", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        found, wanted = candidate(tokens.to(setting.device)).logits, reference(tokens).logits
    yield close("logits of a language model", found, wanted, TOLERANCE)
    asks = [Ask(ClassLabel(id=0, display_name="square"), "class_only", "", seed) for seed in range(3)]
    written = ["\n".join(CausalWriter(candidate, tokenizer, writer)(asks)).encode() for _ in range(2)]
    yield same_bytes("captions twice", written)
