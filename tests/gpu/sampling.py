"""Generated and perturbed images: as on the CPU for every scheduler, and the same bytes however a table is cut."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gpu.embedding import pictures
from gpu.findings import CPU, Finding, Setting, close_pixels, same_bytes
from support.tiny_pipeline import IMAGE_SIZE, tiny_generator
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.steps import ModelRef
from touchstone_generator.pipelines import LoadedGenerator, load_generator
from touchstone_generator.sampling.batches import batches
from touchstone_generator.sampling.img2img import ImageToImage, Sketch, squash
from touchstone_generator.sampling.painter import Painter
from touchstone_generator.sampling.schedulers import SCHEDULERS, build_scheduler
from touchstone_generator.sampling.txt2img import Draft, TextToImage
from touchstone_runtime.library import Library

TOLERANCES = {torch.float32: 0.05, torch.float16: 1.0}
"""Levels of 255, in the mean. Half precision is felt at every step, and an untrained network damps nothing."""
GAMMAS = (0.25, 0.5, 1.0)
BATCH_SIZE = 4
DRAFTS = [Draft(f"a {colour} square", seed) for seed, colour in enumerate(("red", "green", "blue", "grey", "pink") * 2)]


def loaded(setting: Setting, precision: torch.dtype, device: torch.device) -> LoadedGenerator:
    """Half precision on a GPU as the worker loads it; other precisions from the weights as they are stored."""
    ref, library = ModelRef.of(tiny_generator(setting.folder)), Library(setting.folder)
    if device.type == "cuda" and precision == torch.float16:
        return load_generator(ref, library, device)
    found = load_generator(ref, library, CPU)
    found.pipeline.to(device, precision)
    return found


def sampler(setting: Setting, scheduler: Any = "ddim") -> Sampler:
    steps = 4 if setting.small else 20
    return Sampler(scheduler=scheduler, steps=steps, guidance_scale=3.0, batch_size=BATCH_SIZE)


def generated(generator: LoadedGenerator, settings: Sampler, drafts: Sequence[Draft], first: int = 0) -> np.ndarray:
    generator.pipeline.scheduler = build_scheduler(settings.scheduler, generator.scheduler_config)
    return _drawn(TextToImage(generator.pipeline, settings, IMAGE_SIZE), drafts, first)


def perturbed(generator: LoadedGenerator, settings: Sampler, gamma: float) -> np.ndarray:
    generator.pipeline.scheduler = build_scheduler(settings.scheduler, generator.scheduler_config)
    sketches = [
        Sketch(squash(image, IMAGE_SIZE), draft.prompt, draft.seed)
        for image, draft in zip(pictures(len(DRAFTS)), DRAFTS, strict=True)
    ]
    return _drawn(ImageToImage(generator.pipeline, settings, IMAGE_SIZE, gamma), sketches[:BATCH_SIZE], 0)


def _drawn(painter: Painter[Any], drafts: Sequence[Any], first: int) -> np.ndarray:
    """Drafts as rows first, first + 1, ... of their table."""
    parts = [
        painter.draw(drafts[rows.start - first : rows.stop - first], rows.start % BATCH_SIZE, lambda step, steps: None)
        for rows in batches(first, first + len(drafts), BATCH_SIZE)
    ]
    return np.concatenate(parts)


def parity(setting: Setting) -> Iterator[Finding]:
    """Every scheduler, then image to image at several gammas, in the stored and the reduced precision."""
    reference = loaded(setting, torch.float32, CPU)
    candidates = {precision: loaded(setting, precision, setting.device) for precision in TOLERANCES}
    for scheduler in SCHEDULERS:
        settings = sampler(setting, scheduler)
        wanted = generated(reference, settings, DRAFTS[:3])
        for precision, tolerance in TOLERANCES.items():
            found = generated(candidates[precision], settings, DRAFTS[:3])
            yield close_pixels(f"{scheduler}, {_bits(precision)}", found, wanted, tolerance)
    for gamma in GAMMAS:
        wanted = perturbed(reference, sampler(setting), gamma)
        for precision, tolerance in TOLERANCES.items():
            what = f"perturbed, gamma {gamma:g}, {_bits(precision)}"
            if not same_noise(precision):
                yield Finding(what, None, {"outcome": "not comparable: this torch draws other noise in half precision"})
                continue
            yield close_pixels(what, perturbed(candidates[precision], sampler(setting), gamma), wanted, tolerance)


def same_noise(precision: torch.dtype) -> bool:
    """Whether torch's CPU generator draws in this precision what it draws in fp32, rounded: from torch 2.13 on."""
    drawn, rounded = (
        torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=each).float()
        for each in (precision, torch.float32)
    )
    return bool(torch.allclose(drawn, rounded, atol=1e-2))


def bytes_whatever_the_split(setting: Setting) -> Iterator[Finding]:
    """A table of prompts drawn whole, in chunks that cut batches, and twice, in the worker's own precision."""
    precision = torch.float16 if setting.device.type == "cuda" else torch.float32
    generator, settings = loaded(setting, precision, setting.device), sampler(setting)
    whole = generated(generator, settings, DRAFTS)
    yield same_bytes("images twice", [whole, generated(generator, settings, DRAFTS)])
    for cut in (1, 4, 6):
        parts = [generated(generator, settings, DRAFTS[:cut]), generated(generator, settings, DRAFTS[cut:], cut)]
        yield same_bytes(f"images in chunks cut at {cut}", [whole, np.concatenate(parts)])
    anew = generated(loaded(setting, precision, setting.device), settings, DRAFTS)
    yield same_bytes("images of a generator loaded anew", [whole, anew])
    yield same_bytes("perturbed twice", [perturbed(generator, settings, 0.5) for _ in range(2)])


def _bits(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
