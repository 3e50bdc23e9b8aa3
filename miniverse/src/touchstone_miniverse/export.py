"""Trained models into the folders that open_clip and diffusers load without any code of ours."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer


def export_encoder(
    model: open_clip.CLIP,
    tokenizer: CLIPTokenizer,
    config: dict[str, Any],
    mean: Sequence[float],
    std: Sequence[float],
    folder: Path,
) -> None:
    """Write what `open_clip.create_model_and_transforms("local-dir:<folder>")` reads; weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": list(mean), "std": list(std), "interpolation": "bicubic", "resize_mode": "shortest"}
    document = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(document, indent=2) + "\n")
    save_file(_half(model.state_dict()), folder / "open_clip_model.safetensors")
    tokenizer.save_pretrained(folder)


def export_generator(
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    codec: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
    scheduler: DDIMScheduler,
    folder: Path,
) -> None:
    """Write what `StableDiffusionPipeline.from_pretrained(folder)` reads; weights in half precision."""
    vae, text_encoder, unet = (copy.deepcopy(module).eval().half() for module in (codec, text_encoder, unet))
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)


def _half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Floating entries as float16; counters keep their type."""
    return {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}
