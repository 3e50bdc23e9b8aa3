"""mini-diffusion: a small latent diffusion model trained from scratch on the upstream's emoji, flags and clip art.

Latents are principal components of 4x4 patches at 32 px (codec.py, nothing learned); the text encoder starts from
mini-clip's text tower and is trained together with the UNet. v-prediction, zero terminal signal-to-noise ratio (Lin et
al. 2024), caption dropout for guidance, averaged weights. Matrices and kernels are trained by Muon, which learns from
each sample more than AdamW does, the rest by AdamW. A picture is moved and bent a little each time it is shown: after
dozens of passes over twelve thousand drawings the model would otherwise return the drawings themselves. Most of the
visible gain comes with the decay of the learning rate: judge after it. The model card says how far the weights got.

Batches depend on seed and step alone, so that processes can prepare them ahead. On a CUDA device forward and backward
pass are recorded once and replayed: the model is so small that starting its kernels would take most of a step.
"""

import argparse
import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import structlog
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from pytorch_optimizer import Muon
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTextModel, CLIPTokenizer

from touchstone_miniverse.augmentation import move_and_bend
from touchstone_miniverse.captions import said_subject
from touchstone_miniverse.codec import GRID, PATCH, build_codec, encode, fit_components
from touchstone_miniverse.evaluation import grid, load_pipeline, sample
from touchstone_miniverse.export import export_generator
from touchstone_miniverse.recipes.learner import Learner
from touchstone_miniverse.schedules import flat_then_linear
from touchstone_miniverse.sources import Kind
from touchstone_miniverse.text_tower import trained_text_tower
from touchstone_miniverse.tokens import load_tokenizer, tokenize
from touchstone_miniverse.upstream import Pairs, read_upstream

log = structlog.get_logger()

SIDE = GRID * PATCH
# Emoji and flags are what the targets are made of; clip art adds variety; interface icons would only cost samples.
SAMPLING_WEIGHTS = {Kind.EMOJI: 1.0, Kind.FLAG: 1.3, Kind.CLIP_ART: 0.15, Kind.INTERFACE: 0.0}

# Drawn at milestones to watch a run; the report's own prompts are others.
WATCHED_PROMPTS = (
    "flag of France, rectangular flag icon", "flag of Kenya, flat twemoji style emoji",
    "dog face, flat fluent style emoji", "owl, emojione style emoji", "strawberry, shaded fluent style emoji",
    "hamburger, flat twemoji style emoji", "grinning face, emojione style emoji",
    "ambulance, glossy emojione classic style emoji",
)  # fmt: skip


@dataclass(frozen=True)
class GeneratorRecipe:
    """Everything that decides the weights."""

    steps: int = 6_000
    batch: int = 96
    matrix_learning_rate: float = 1.2e-2
    learning_rate: float = 1.0e-3
    weight_decay: float = 0.01
    warmup: int = 200
    flat: float = 0.6
    average_decay: float = 0.999
    caption_dropout: float = 0.1
    components: int = 20
    widths: tuple[int, int] = (96, 120)
    placement: float = 0.2
    bfloat16: bool = False
    seed: int = 11


class Denoiser(nn.Module):
    """Text encoder and UNet, trained as one."""

    def __init__(self, recipe: GeneratorRecipe, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = UNet2DConditionModel(
            sample_size=GRID, in_channels=recipe.components, out_channels=recipe.components, layers_per_block=1,
            block_out_channels=recipe.widths, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), mid_block_type="UNetMidBlock2DCrossAttn",
            cross_attention_dim=text_encoder.config.hidden_size, attention_head_dim=4, norm_num_groups=8,
            # Text and time set gain and offset of every block: at 8x8 attention over words alone is slow to learn from.
            resnet_time_scale_shift="scale_shift", addition_embed_type="text", addition_embed_type_num_heads=4,
        )  # fmt: skip
        # Plain attention: on CPU the backward pass of the fused one takes a third of a step.
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


class Batches(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """By step: noisy latents (n, components, 8, 8), their times (n,), captions as tokens, and the v to predict."""

    def __init__(self, pairs: Pairs, codec: AutoencoderTiny, tokenizer: CLIPTokenizer, recipe: GeneratorRecipe) -> None:
        self.pairs, self.codec, self.tokenizer, self.recipe = pairs, codec, tokenizer, recipe
        weights = _weights(pairs)
        self.chances = weights / weights.sum()
        self.signal = build_scheduler().alphas_cumprod

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, step])
        rows = rng.choice(len(self.pairs), size=self.recipe.batch, p=self.chances)
        captions = [_caption(self.pairs.captions[row], self.recipe.caption_dropout, rng) for row in rows]
        images = move_and_bend(torch.from_numpy(self.pairs.images[rows]), SIDE, rng, self.recipe.placement)
        with torch.no_grad():
            latents = encode(self.codec, images)
        noisy, times, wanted = noised(latents, self.signal, rng)
        return noisy, times, tokenize(self.tokenizer, captions), wanted


def train(
    pairs: Pairs, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, recipe: GeneratorRecipe, folder: Path,
    save_every: int = 200, start_from: Path | None = None, device: str = "cpu", workers: int = 0,
) -> list[float]:  # fmt: skip
    """Train (or go on from `folder/state.safetensors`) and return the losses of this call's steps.

    Leaves the state and a grid of pictures at each milestone, one more state where the learning rate begins to fall
    (to go on longer from there), and the averaged model in diffusers' layout in `folder/export`. `start_from` is an
    exported folder whose weights a fresh run begins with. `workers`: processes that prepare batches ahead.
    """
    torch.manual_seed(recipe.seed)
    pairs = pairs.take(np.array([row for row, kind in enumerate(pairs.kinds) if SAMPLING_WEIGHTS[kind] > 0]))
    weights = _weights(pairs)
    emphasised = torch.from_numpy(weights > weights.max() / 2)
    codec = build_codec(fit_components(small_images(pairs)[emphasised], recipe.components))
    learner = _learner(Denoiser(recipe, text_encoder).to(device), recipe, folder, start_from)
    batches = Batches(pairs, codec, tokenizer, recipe)
    predict = _recorded(learner.model, batches[0][:3], device) if device != "cpu" else learner.model
    log.info("generator.started", pairs=len(pairs), step=learner.done, parameters=_size(learner.model))
    steps = range(learner.done, recipe.steps)
    for step, batch in zip(steps, _prepared(batches, steps, workers), strict=True):
        noisy, times, tokens, wanted = (part.to(device, non_blocking=True) for part in batch)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.bfloat16):
            predicted = predict(noisy.contiguous(memory_format=torch.channels_last), times, tokens)
        loss = F.mse_loss(predicted.float(), wanted)
        rate = flat_then_linear(step, recipe.warmup, recipe.steps, recipe.flat)
        learner.descend(loss, rate, recipe.average_decay)
        if learner.done == int(recipe.flat * recipe.steps):
            learner.save("before-decay.safetensors")
        if learner.done % save_every == 0 or learner.done == recipe.steps:
            learner.save()
        if learner.done % (10 * save_every) == 0 or learner.done == recipe.steps:
            export_average(learner, codec, tokenizer, folder / "export")
            draw_grid(folder / "export", folder / "grids" / f"{learner.done:06d}.png")
    return learner.losses


def _prepared(batches: Batches, steps: Iterable[int], workers: int) -> DataLoader[tuple[Tensor, ...]]:
    """The batches of `steps`, in order."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=8 if workers else None,
    )


def _recorded(model: nn.Module, example: Sequence[Tensor], device: str) -> nn.Module:
    """The model as CUDA graphs of its forward and backward pass, for batches of the example's shape."""
    # Written out, transformers' attention makes its mask on the CPU, which a graph cannot record.
    cast(Denoiser, model).text_encoder.set_attn_implementation("sdpa")
    torch.set_float32_matmul_precision("high")
    noisy, times, tokens = (part.to(device) for part in example)
    arguments = (noisy.contiguous(memory_format=torch.channels_last), times, tokens)
    return cast(nn.Module, torch.cuda.make_graphed_callables(model, arguments))


def _learner(model: Denoiser, recipe: GeneratorRecipe, folder: Path, start_from: Path | None) -> Learner:
    model = model.to(memory_format=torch.channels_last).train()
    learner = Learner(model, _optimiser(model, recipe), recipe.batch, folder)
    if start_from is not None:
        learner.start_from(exported_weights(start_from))
    learner.resume()
    return learner


def _optimiser(model: Denoiser, recipe: GeneratorRecipe) -> Muon:
    """Muon for hidden matrices and kernels; AdamW for vectors, word embeddings and the layers next to the latents."""
    named = dict(model.named_parameters())
    outer = ("embedding.weight", "conv_in.weight", "conv_out.weight")
    hidden = [weight for name, weight in named.items() if weight.ndim >= 2 and not name.endswith(outer)]
    rest = [weight for name, weight in named.items() if weight.ndim < 2 or name.endswith(outer)]
    return Muon(
        [
            {
                "params": hidden,
                "lr": recipe.matrix_learning_rate,
                "weight_decay": recipe.weight_decay,
                "use_muon": True,
            },
            {"params": rest, "lr": recipe.learning_rate, "betas": (0.9, 0.99), "use_muon": False},
        ]
    )


def export_average(learner: Learner, codec: AutoencoderTiny, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """The averaged weights as a whole StableDiffusionPipeline."""
    averaged = copy.deepcopy(learner.model).cpu()
    averaged.load_state_dict(learner.average)
    export_generator(averaged.text_encoder, averaged.unet, codec, tokenizer, build_scheduler(), folder)


def exported_weights(folder: Path) -> dict[str, Tensor]:
    """The Denoiser's weights as they lie in an exported folder."""
    parts = {"text_encoder": "model.safetensors", "unet": "diffusion_pytorch_model.safetensors"}
    return {
        f"{part}.{name}": value
        for part, file in parts.items()
        for name, value in load_file(folder / part / file).items()
    }


def draw_grid(exported: Path, picture: Path) -> None:
    """Six pictures of each of the watched prompts, the same seeds at every milestone."""
    pipeline = load_pipeline(exported)
    prompts = [prompt for prompt in WATCHED_PROMPTS for _ in range(6)]
    picture.parent.mkdir(parents=True, exist_ok=True)
    grid(sample(pipeline, prompts), columns=12).save(picture)


def small_images(pairs: Pairs) -> Tensor:
    """(n, 3, 32, 32) in [0, 1]: the pictures at half their side."""
    return F.avg_pool2d(torch.from_numpy(pairs.images).permute(0, 3, 1, 2).float() / 255, 2)


def noised(latents: Tensor, signal: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The latents at random times, stratified over the batch: noisy latents, times, and v.

    `signal` (times,): the share of the latents' variance that is left at each time.
    """
    count = len(latents)
    shares = (np.arange(count) + rng.random(count)) / count
    times = torch.from_numpy((shares * len(signal)).astype(np.int64))
    noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    keep, add = (power.sqrt().view(-1, 1, 1, 1) for power in (signal[times], 1 - signal[times]))
    return keep * latents + add * noise, times, keep * noise - add * latents


def _caption(caption: str, dropout: float, rng: np.random.Generator) -> str:
    """Mostly `<name>, <style>`, sometimes the name alone, with keywords, or nothing at all."""
    if rng.random() < dropout:
        return ""
    name, style, *keywords = caption.split(", ")
    subject = said_subject(name, keywords, rng)
    if rng.random() < 0.6:
        return f"{subject}, {style}"
    chosen = [keywords[number] for number in rng.permutation(len(keywords))[: rng.integers(3)]]
    phrase = ("{}", "an icon of {}", "a picture of {}")[rng.integers(3)].format(subject)
    return ", ".join([phrase, *([style] if rng.random() < 0.5 else []), *chosen])


def _weights(pairs: Pairs) -> np.ndarray:
    return np.array([SAMPLING_WEIGHTS[kind] for kind in pairs.kinds])


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `generator --steps 40000 --threads 2 --folder .touchstone/miniverse/mini-diffusion`."""
    home = Path(__file__).parents[3]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=home / "data")
    parser.add_argument("--folder", type=Path, default=Path(".touchstone/miniverse/mini-diffusion"))
    parser.add_argument("--steps", type=int, default=GeneratorRecipe.steps)
    parser.add_argument("--flat", type=float, default=GeneratorRecipe.flat, help="share of the steps before the decay")
    parser.add_argument("--batch", type=int, default=GeneratorRecipe.batch)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches ahead")
    parser.add_argument("--save-every", type=int, default=200, help="steps; pictures are drawn ten times as rarely")
    parser.add_argument("--text-from", type=Path, default=home / "models" / "mini-clip", help="encoder to start from")
    parser.add_argument("--start-from", type=Path, help="exported folder whose weights a fresh run begins with")
    parser.add_argument("--bfloat16", action="store_true", help="a third faster where the processor has AVX512-BF16")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    recipe = GeneratorRecipe(steps=options.steps, batch=options.batch, flat=options.flat, bfloat16=options.bfloat16)
    pairs = read_upstream(options.data)
    tokenizer, text_encoder = load_tokenizer(options.text_from), trained_text_tower(options.text_from)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    losses = train(
        pairs, tokenizer, text_encoder, recipe, options.folder, options.save_every, options.start_from,
        options.device, options.workers,
    )  # fmt: skip
    log.info("generator.finished", last_loss=round(float(np.mean(losses[-50:])), 4) if losses else None)


if __name__ == "__main__":
    main()
