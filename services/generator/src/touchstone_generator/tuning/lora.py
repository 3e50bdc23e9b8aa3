"""LoRA on the attention of a UNet, trained to denoise few images (as DataDream tunes Stable Diffusion)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from peft import LoraConfig
from touchstone_contracts.arms.tuning import LoraSettings
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_runtime.randomness import rng_for
from touchstone_runtime.savepoints import NO_SAVEPOINTS, Savepoints
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_generator.tuning.state import dump_state, restore_state
from touchstone_generator.tuning.weights import dump_lora

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
"""Projections of the UNet's self- and cross-attention."""
PART = "tuning"
"""Of a step's savepoints."""
PROMPT_DROPPED = 0.1
"""Share of the images trained without their prompt, so that guidance keeps its unconditional side."""


@dataclass(frozen=True)
class TuningSet:
    """pixels: n times (3, size, size) in [-1, 1], float32, looked at once, one after the other; prompts: n of them."""

    pixels: Iterable[torch.Tensor]
    prompts: Sequence[str]


@dataclass(frozen=True)
class Tuned:
    weights: bytes
    """safetensors, see weights.py"""
    losses: np.ndarray
    """float64 (steps,)"""

    def mean_loss(self, *, last: bool) -> float:
        """Over the first or the last tenth of the steps."""
        tenth = max(1, len(self.losses) // 10)
        return float((self.losses[-tenth:] if last else self.losses[:tenth]).mean())


def tune_unet(
    pipeline: Any,
    images: TuningSet,
    settings: LoraSettings,
    seed: int,
    progress: ProgressFunction = no_progress,
    savepoints: Savepoints = NO_SAVEPOINTS,
) -> Tuned:
    """Trains the attention's low-rank updates and nothing else. `pipeline` is changed: use a copy. Goes on where it was
    saved last, to the same weights.

    Raises Invalid when the loss is not finite."""
    unet = pipeline.unet.requires_grad_(False).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "lora start"))
        unet.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=ATTENTION))
    latents, conditions = _latents(pipeline, images), _conditions(pipeline, images)
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    trained = {name: parameter for name, parameter in unet.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=settings.learning_rate)
    losses = np.zeros(settings.steps)
    for step in range(restore_state(savepoints.load(PART), trained, optimizer, losses), settings.steps):
        rng = rng_for(seed, "lora step", step)
        loss = _loss(unet, schedule, latents, conditions, settings.batch_size, rng)
        if not torch.isfinite(loss):
            raise Invalid(f"the loss of step {step} is not finite; lower the learning rate", code="tuning_diverged")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[step] = loss.item()
        progress(step + 1, settings.steps)
        if savepoints.due():
            savepoints.save(PART, dump_state(step + 1, trained, optimizer, losses))
    return Tuned(dump_lora(unet), losses)


@dataclass(frozen=True)
class Conditions:
    """What the UNet is told of each image; classes share prompts, of which each is held once."""

    encoded: torch.Tensor
    """float32 (prompts, tokens, width)"""
    of_image: np.ndarray
    """(n + 1,): which of them each image has; the last is the empty prompt."""

    def of(self, texts: np.ndarray) -> torch.Tensor:
        return self.encoded[torch.from_numpy(self.of_image[texts])]


def _latents(pipeline: Any, images: TuningSet) -> torch.Tensor:
    """float32 (n, channels, side, side)"""
    vae, device = pipeline.vae, pipeline.device
    with torch.no_grad():
        latents = [_latent(vae, pixels[None].to(device, vae.dtype)) for pixels in images.pixels]
    return torch.cat([(latent * vae.config.scaling_factor).float() for latent in latents])


def _conditions(pipeline: Any, images: TuningSet) -> Conditions:
    prompts = [*images.prompts, ""]
    number = {prompt: position for position, prompt in enumerate(dict.fromkeys(prompts))}
    with torch.no_grad():
        encoded = [
            pipeline.encode_prompt(prompt, pipeline.device, 1, do_classifier_free_guidance=False)[0]
            for prompt in number
        ]
    return Conditions(torch.cat(encoded).float(), np.array([number[prompt] for prompt in prompts]))


def _latent(vae: Any, image: torch.Tensor) -> torch.Tensor:
    """The most likely latent: a KL autoencoder answers a distribution, a tiny one the latent itself."""
    answer = vae.encode(image)
    latent: torch.Tensor = answer.latents if hasattr(answer, "latents") else answer.latent_dist.mode()
    return latent


def _loss(
    unet: Any,
    schedule: DDPMScheduler,
    latents: torch.Tensor,
    conditions: Conditions,
    batch_size: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Mean squared error of what the UNet predicts (noise or velocity) for a batch drawn by `rng`."""
    device = latents.device
    rows = rng.integers(len(latents), size=batch_size)
    texts = np.where(rng.random(batch_size) < PROMPT_DROPPED, len(latents), rows)
    times = torch.from_numpy(rng.integers(schedule.config.num_train_timesteps, size=batch_size)).to(device)
    clean = latents[torch.from_numpy(rows)]
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(device)
    noisy = schedule.add_noise(clean, noise, times)
    predicted = unet(noisy, times, encoder_hidden_states=conditions.of(texts)).sample
    wanted = schedule.get_velocity(clean, noise, times) if schedule.config.prediction_type == "v_prediction" else noise
    return F.mse_loss(predicted, wanted)
