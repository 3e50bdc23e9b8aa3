"""LoRA tuning of a generator on the device."""

from collections.abc import Iterator

import numpy as np
import torch
from gpu.findings import CPU, Finding, Setting, close, close_pixels, same_bytes
from gpu.sampling import DRAFTS, TOLERANCES, generated, loaded, sampler
from support.tiny_pipeline import IMAGE_SIZE
from touchstone_contracts.arms.tuning import LoraSettings
from touchstone_generator.tuning.lora import Tuned, TuningSet, tune_unet
from touchstone_generator.tuning.weights import add_lora

LOSSES = {torch.float32: 1e-4, torch.float16: 2e-2}
"""Relative, over all steps. fp16: what the frozen parts were loaded in, the tuned layers stay fp32."""


def parity_and_bytes(setting: Setting) -> Iterator[Finding]:
    wanted = tuned(setting, torch.float32, CPU)
    for precision, tolerance in LOSSES.items():
        found, again = (tuned(setting, precision, setting.device) for _ in range(2))
        name = str(precision).removeprefix("torch.")
        yield close(f"losses, base in {name}", found.losses, wanted.losses, tolerance)
        yield same_bytes(f"weights twice, base in {name}", [found.weights, again.weights])
        images = drawn(setting, found, precision, setting.device), drawn(setting, wanted, torch.float32, CPU)
        yield close_pixels(f"images of the tuned generator, {name}", *images, TOLERANCES[precision])


def tuned(setting: Setting, precision: torch.dtype, device: torch.device) -> Tuned:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.uniform(-1, 1, size=(4, 3, IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32))
    images = TuningSet(pixels, [draft.prompt for draft in DRAFTS[:4]])
    settings = LoraSettings(steps=4 if setting.small else 20, batch_size=2, rank=2, learning_rate=1e-3)
    return tune_unet(loaded(setting, precision, device).pipeline, images, settings, seed=0)


def drawn(setting: Setting, result: Tuned, precision: torch.dtype, device: torch.device) -> np.ndarray:
    generator = loaded(setting, precision, device)
    add_lora(generator.pipeline, result.weights)
    return generated(generator, sampler(setting), DRAFTS[:2])
