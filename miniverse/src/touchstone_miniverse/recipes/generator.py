"""mini-diffusion: a small latent diffusion model trained from scratch on the upstream's emoji, flags and clip art.

Latents are principal components of 4x4 patches at 32 px (codec.py, nothing learned); the text encoder is trained
together with the UNet. v-prediction, zero terminal signal-to-noise ratio (Lin et al. 2024), caption dropout for
guidance, averaged weights. Most of the visible gain comes with the decay of the learning rate: judge after it.
The shipped weights are those of 1,700 steps (loss 0.464), which is early: two to four million samples are wanted.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from touchstone_miniverse.checkpoints import load_state, save_state, update_average
from touchstone_miniverse.codec import GRID, PATCH, build_codec, encode, fit_components
from touchstone_miniverse.export import export_generator
from touchstone_miniverse.schedules import flat_then_linear
from touchstone_miniverse.sources import Kind
from touchstone_miniverse.tokens import load_tokenizer
from touchstone_miniverse.upstream import Pairs, read_upstream

log = structlog.get_logger()

CONTEXT = 16
SIDE = GRID * PATCH
# Emoji and flags are what the targets are made of; clip art adds variety; interface icons would only cost samples.
SAMPLING_WEIGHTS = {Kind.EMOJI: 1.0, Kind.FLAG: 1.3, Kind.CLIP_ART: 0.15, Kind.INTERFACE: 0.0}


@dataclass(frozen=True)
class GeneratorRecipe:
    """Everything that decides the weights."""

    steps: int = 1700
    batch: int = 128
    learning_rate: float = 1.0e-3
    weight_decay: float = 0.01
    warmup: int = 100
    flat: float = 0.6
    average_decay: float = 0.998
    caption_dropout: float = 0.1
    components: int = 20
    widths: tuple[int, int] = (96, 144)
    text_width: int = 160
    seed: int = 11


class Denoiser(nn.Module):
    """Text encoder and UNet, trained as one."""

    def __init__(self, recipe: GeneratorRecipe, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(_text_config(recipe, vocabulary))
        self.unet = UNet2DConditionModel(
            sample_size=GRID, in_channels=recipe.components, out_channels=recipe.components, layers_per_block=1,
            block_out_channels=recipe.widths, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), mid_block_type="UNetMidBlock2DCrossAttn",
            cross_attention_dim=recipe.text_width, attention_head_dim=4, norm_num_groups=16,
        )  # fmt: skip
        # The plain processor: on CPU the backward pass of fused attention takes a third of a step.
        self.unet.set_attn_processor(AttnProcessor())

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor) -> Tensor:
        """Predicted v (n, components, 8, 8) for noisy latents at `times` under captions `tokens` (n, context)."""
        states = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, times, states).sample


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of training and the sampler's default."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False, steps_offset=1,
        set_alpha_to_one=True,
    )  # fmt: skip


def train(
    pairs: Pairs, tokenizer: CLIPTokenizer, recipe: GeneratorRecipe, folder: Path, save_every: int = 200,
    compiled: bool = False,
) -> list[float]:  # fmt: skip
    """Train (or go on from `folder/state.safetensors`) and return the losses of this call's steps.

    Leaves the state at each milestone, one more copy where the learning rate begins to fall (to go on longer from
    there), and the averaged model in diffusers' layout in `folder/export`.
    """
    torch.manual_seed(recipe.seed)
    pairs = pairs.take(np.array([row for row, kind in enumerate(pairs.kinds) if SAMPLING_WEIGHTS[kind] > 0]))
    images = small_images(pairs)
    weights = _weights(pairs)
    emphasised = images[torch.from_numpy(weights > weights.max() / 2)]
    codec = build_codec(fit_components(emphasised, recipe.components))
    with torch.no_grad():
        latents = torch.cat([encode(codec, part) for part in images.split(512)])
    model = Denoiser(recipe, len(tokenizer)).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    state, start = folder / "state.safetensors", 0
    if state.exists():
        start, average = load_state(state, model, optimiser)
    predict = torch.compile(model) if compiled else model
    log.info("generator.started", pairs=len(pairs), step=start, parameters=_size(model), **asdict(recipe))
    losses: list[float] = []
    began = time.monotonic()
    for step in range(start, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = flat_then_linear(step, recipe.warmup, recipe.steps, recipe.learning_rate, recipe.flat)
        rng = np.random.default_rng([recipe.seed, step])
        rows = rng.choice(len(pairs), size=recipe.batch, p=weights / weights.sum())
        captions = [_caption(pairs.captions[row], recipe.caption_dropout, rng) for row in rows]
        loss = diffusion_loss(predict, latents[rows], tokenize(tokenizer, captions), rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        update_average(average, model, min(recipe.average_decay, (step + 1) / (step + 10)))
        losses.append(float(loss.detach()))
        done = step + 1
        if done % 50 == 0:
            rate = (done - start) * recipe.batch / (time.monotonic() - began)
            log.info("generator.step", step=done, loss=round(float(np.mean(losses[-50:])), 4), per_second=round(rate))
        if done % save_every == 0 or done == recipe.steps:
            save_state(state, done, model, optimiser, average)
        if done == int(recipe.flat * recipe.steps):
            save_state(folder / "before-decay.safetensors", done, model, optimiser, average)
    export_average(model, average, codec, tokenizer, folder / "export")
    return losses


def export_average(
    model: Denoiser, average: dict[str, Tensor], codec: AutoencoderTiny, tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """The averaged weights as a whole StableDiffusionPipeline."""
    model.load_state_dict(average)
    export_generator(model.text_encoder, model.unet, codec, tokenizer, build_scheduler(), folder)


def small_images(pairs: Pairs) -> Tensor:
    """(n, 3, 32, 32) in [0, 1]: the pictures at half their side."""
    return F.avg_pool2d(torch.from_numpy(pairs.images).permute(0, 3, 1, 2).float() / 255, 2)


def diffusion_loss(predict: Callable[..., Tensor], latents: Tensor, tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Mean squared error of v at random times, stratified over the batch."""
    signal = build_scheduler().alphas_cumprod
    count = len(latents)
    shares = (np.arange(count) + rng.random(count)) / count
    times = torch.from_numpy((shares * len(signal)).astype(np.int64))
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    keep, add = (power.sqrt().view(-1, 1, 1, 1) for power in (signal[times], 1 - signal[times]))
    noisy = (keep * latents + add * noise).contiguous(memory_format=torch.channels_last)
    return F.mse_loss(predict(noisy, times, tokens), keep * noise - add * latents)


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """(n, context) token ids."""
    return tokenizer(
        list(texts), padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt"
    ).input_ids


def _caption(caption: str, dropout: float, rng: np.random.Generator) -> str:
    """Mostly `<name>, <style>`, sometimes the name alone, with keywords, or nothing at all."""
    if rng.random() < dropout:
        return ""
    name, style, *keywords = caption.split(", ")
    if rng.random() < 0.6:
        return f"{name}, {style}"
    chosen = [keywords[number] for number in rng.permutation(len(keywords))[: rng.integers(3)]]
    phrase = ("{}", "an icon of {}", "a picture of {}")[rng.integers(3)].format(name)
    return ", ".join([phrase, *([style] if rng.random() < 0.5 else []), *chosen])


def _weights(pairs: Pairs) -> np.ndarray:
    return np.array([SAMPLING_WEIGHTS[kind] for kind in pairs.kinds])


def _text_config(recipe: GeneratorRecipe, vocabulary: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=recipe.text_width, intermediate_size=4 * recipe.text_width,
        projection_dim=recipe.text_width, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=CONTEXT, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )  # fmt: skip


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `generator --steps 1700 --threads 2 --folder .touchstone/miniverse/mini-diffusion`."""
    home = Path(__file__).parents[3]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=home / "data")
    parser.add_argument("--tokenizer", type=Path, default=home / "models" / "mini-clip")
    parser.add_argument("--folder", type=Path, default=Path(".touchstone/miniverse/mini-diffusion"))
    parser.add_argument("--steps", type=int, default=GeneratorRecipe.steps)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="compile the model (needs a C++ compiler)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    recipe = GeneratorRecipe(steps=options.steps)
    tokenizer = load_tokenizer(options.tokenizer)
    losses = train(read_upstream(options.data), tokenizer, recipe, options.folder, compiled=options.compile)
    log.info("generator.finished", last_loss=round(float(np.mean(losses[-50:])), 4) if losses else None)
    (options.folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


if __name__ == "__main__":
    main()
