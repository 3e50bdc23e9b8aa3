"""How good the miniverse's models are: zero-shot of the encoder, recognisability of what the generator draws."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
import yaml
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor

from touchstone_miniverse.upstream import read_split


@dataclass(frozen=True)
class Judge:
    """An encoder as open_clip loads it from a folder, with what goes before it."""

    model: open_clip.CLIP
    preprocess: Any
    tokenize: Any


def load_judge(folder: Path) -> Judge:
    """The encoder saved in `folder`, ready to judge."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return Judge(model.eval(), preprocess, open_clip.get_tokenizer(name))


@torch.no_grad()
def class_embeddings(judge: Judge, target: Mapping[str, Any]) -> Tensor:
    """(classes, width): the normalised mean over the target's zero-shot templates."""
    embedded = []
    for entry in target["classes"]:
        texts = [template.format(name=entry["display_name"]) for template in target["templates"]["zero_shot"]]
        embedded.append(judge.model.encode_text(judge.tokenize(texts), normalize=True).mean(0))
    return F.normalize(torch.stack(embedded), dim=-1)


@torch.no_grad()
def embed(judge: Judge, images: Sequence[Image.Image], progress: str | None = None) -> NDArray[np.float64]:
    """(images, width): normalised features; `progress` names a bar shown meanwhile."""
    batches = [images[start : start + 128] for start in range(0, len(images), 128)]
    shown = track(batches, progress, transient=True) if progress else batches
    features = [
        judge.model.encode_image(torch.stack([judge.preprocess(image) for image in batch]), normalize=True)
        for batch in shown
    ]
    return torch.cat(features).double().numpy()


def predict(judge: Judge, images: Sequence[Image.Image], classes: Tensor) -> NDArray[np.int64]:
    """The class of each image by cosine."""
    return (embed(judge, images) @ classes.double().numpy().T).argmax(1)


def zero_shot(judge: Judge, home: Path) -> dict[str, dict[str, float]]:
    """Top-1 accuracy by target and split."""
    table: dict[str, dict[str, float]] = {}
    for target in read_targets(home):
        classes = class_embeddings(judge, target)
        table[target["name"]] = {}
        for split in ("test", "validation"):
            images, labels = read_split(home / "data", target["name"], split)
            right = predict(judge, [Image.fromarray(image) for image in images], classes) == labels
            table[target["name"]][split] = float(right.mean())
    return table


def sample(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], steps: int = 16, guidance: float = 3.0, seed: int = 0
) -> list[Image.Image]:
    """One picture per prompt; each has its own seed. Words beyond the text encoder's context are lost in silence."""
    images: list[Image.Image] = []
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    for start in range(0, len(prompts), 64):
        batch = list(prompts[start : start + 64])
        generators = [torch.Generator().manual_seed(seed + start + number) for number in range(len(batch))]
        with _errors_only():
            images += pipeline(
                batch, height=side, width=side, num_inference_steps=steps, guidance_scale=guidance, generator=generators
            ).images
    return images


@contextmanager
def _errors_only() -> Iterator[None]:
    """Without diffusers' paragraph about every prompt that is too long."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)


def class_prompts(target: Mapping[str, Any], per_class: int) -> list[tuple[int, str]]:
    """Class id and prompt of `per_class` pictures of each class, the target's synthesis templates in turn."""
    templates = target["templates"]["synthesis"]
    return [
        (entry["id"], templates[(entry["id"] + number) % len(templates)].format(name=entry["display_name"]))
        for entry in target["classes"]
        for number in range(per_class)
    ]


def recognised(
    judge: Judge, pipeline: StableDiffusionPipeline, target: Mapping[str, Any], per_class: int
) -> tuple[float, list[Image.Image]]:
    """Share of generated pictures that the judge puts into the class they were asked for, and the pictures."""
    asked = class_prompts(target, per_class)
    images = sample(pipeline, [prompt for _, prompt in asked])
    right = predict(judge, images, class_embeddings(judge, target)) == np.array([label for label, _ in asked])
    return float(right.mean()), images


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    """The generator saved in `folder`, in full precision for the processor."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def read_targets(home: Path) -> list[dict[str, Any]]:
    """The targets of the catalogue."""
    return yaml.safe_load((home / "catalogue.yaml").read_text())["targets"]


def grid(images: Sequence[Image.Image], columns: int, scale: int = 2) -> Image.Image:
    """A contact sheet."""
    side = images[0].width * scale
    sheet = Image.new("RGB", (columns * side, -(-len(images) // columns) * side), "white")
    for number, image in enumerate(images):
        corner = (number % columns * side, number // columns * side)
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), corner)
    return sheet
