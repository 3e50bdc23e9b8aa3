"""How fast Stable Diffusion 1.5 generates at 512 pixels: its UNet at several batch sizes, then prompts to images."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from gpu.findings import Finding, Setting
from gpu.model_configs import CODEC, SMALL_CODEC, SMALL_TEXT, SMALL_UNET, TEXT, UNET
from gpu.timing import once, price_of_repeating, swept, torch_as_it_comes
from support.tiny_pipeline import CHARACTERS
from touchstone_contracts.arms.generation import Sampler
from touchstone_generator.sampling.schedulers import build_scheduler
from touchstone_generator.sampling.txt2img import Draft, TextToImage
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIZES = (1, 2, 4, 8, 16, 32)
STEPS = 50
"""Of an image, each with and without its prompt: the default of a sampler."""
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}
TOKENS = 77


def unet_of(setting: Setting, precision: torch.dtype) -> Any:
    """Made on the device, where random weights take a moment."""
    with setting.device:
        unet = UNet2DConditionModel(**(SMALL_UNET if setting.small else UNET))
    return unet.to(precision).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def unet(setting: Setting) -> Iterator[Finding]:
    """Images per second as if the UNet were all: a guided step of a batch is two rows an image, and takes its share of
    the steps of an image."""
    for name, precision in PRECISIONS.items():
        if setting.small and name == "fp16":
            continue  # a CPU has no fast kernels for it
        sizes = (1,) if setting.small else SIZES
        work = partial(guided_step, unet_of(setting, precision))
        yield from swept(f"UNet, {name}", work, sizes, name, setting, lambda size: size / STEPS)
        step = work(sizes[-1])
        yield price_of_repeating(f"UNet step, {name}", step, step, sizes[-1], setting)


def guided_step(network: Any, size: int) -> Callable[[], torch.Tensor]:
    rows, side = 2 * size, network.config.sample_size
    generator = torch.Generator().manual_seed(0)  # the same work for every way of computing it
    latents = torch.randn(rows, 4, side, side, generator=generator).to(network.device, network.dtype)
    text = torch.randn(rows, TOKENS, network.config.cross_attention_dim, generator=generator)
    text = text.to(network.device, network.dtype)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            noise: torch.Tensor = network(latents, 500, encoder_hidden_states=text).sample
            return noise

    return call


def prompts_to_images(setting: Setting) -> Iterator[Finding]:
    """Text encoder, denoising and decoding, against the pipeline called once per prompt."""
    precision = torch.float16 if setting.device.type == "cuda" else torch.float32
    pipeline = pipeline_of(setting, precision)
    size = 64 if setting.small else 512
    batch_size, steps = (2, 2) if setting.small else (16, 10)
    sampler = Sampler(steps=steps, guidance_scale=3.0, batch_size=batch_size)
    pipeline.scheduler = build_scheduler(sampler.scheduler, pipeline.scheduler.config)
    drafts = [Draft(f"a photo of {number}", number) for number in range(batch_size)]
    painter = TextToImage(pipeline, sampler, size)
    rates: dict[str, float] = {}
    for name, work, images in (
        ("ours", lambda: painter.draw(drafts, 0, lambda step, total: None), batch_size),
        ("naive", torch_as_it_comes()(lambda: _one(pipeline, sampler, size)), 1),
    ):
        if not setting.small:
            work()
        rates[name] = images / once(work, setting.device)
    figures = {"images_per_s": rates["ours"], "naive_images_per_s": rates["naive"], "batch": batch_size}
    ratio = rates["ours"] / rates["naive"]
    yield Finding(f"prompts to images, {steps} steps", None, figures | {"ratio": ratio})


def _one(pipeline: Any, sampler: Sampler, size: int) -> object:
    generator = torch.Generator("cpu").manual_seed(0)
    return pipeline(
        "a photo of 0",
        height=size,
        width=size,
        num_inference_steps=sampler.steps,
        guidance_scale=sampler.guidance_scale,
        generator=generator,
    ).images[0]


def pipeline_of(setting: Setting, precision: torch.dtype) -> Any:
    """Random weights: its images are noise, and may be black."""
    codec_config, text_config = (SMALL_CODEC, SMALL_TEXT) if setting.small else (CODEC, TEXT)
    with setting.device:
        codec = AutoencoderKL(**codec_config)
        text_encoder = CLIPTextModel(CLIPTextConfig(**text_config))
    pipeline = StableDiffusionPipeline(
        vae=codec.to(precision).to(memory_format=torch.channels_last).eval(),
        text_encoder=text_encoder.to(precision).eval(),
        tokenizer=_tokenizer(),
        unet=unet_of(setting, precision),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _tokenizer() -> CLIPTokenizer:
    """Without merges: every character is a token; as many of them as the real one takes."""
    tokens = ["<|startoftext|>", "<|endoftext|>", *CHARACTERS, *(f"{character}</w>" for character in CHARACTERS)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)
