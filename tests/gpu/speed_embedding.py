"""How fast ViT-B/16 embeds: the tower alone at several batch sizes, then files to vectors against a naive loop."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from gpu.embedding import pictures
from gpu.findings import Finding, Setting
from gpu.model_configs import VIT_B_16
from gpu.models import clip
from gpu.timing import once, swept, torch_as_it_comes
from PIL import Image
from support.tiny_models import ARCHITECTURES
from touchstone_encoders.embedding import embed_images
from touchstone_encoders.loading import EncoderCache, LoadedEncoder
from touchstone_runtime.library import Library

SIZES = (64, 128, 256, 512, 1024)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SOURCE_PIXELS = 256


def encoder(setting: Setting) -> LoadedEncoder:
    """ViT-B/16 with random weights; a small relative for a CPU."""
    name, config = ("vit", ARCHITECTURES["vit"]) if setting.small else ("vit-b-16", VIT_B_16)
    return EncoderCache(Library(setting.folder), setting.device).get(clip(setting.folder, name, config))


def tower(setting: Setting) -> Iterator[Finding]:
    model = encoder(setting)
    sizes = (2,) if setting.small else SIZES
    for precision in PRECISIONS:
        yield from swept(f"tower, {precision}", partial(_forward, model, precision), sizes, precision, setting)


def _forward(model: LoadedEncoder, precision: str, size: int) -> Callable[[], object]:
    pixels = torch.randn(size, 3, model.image_size, model.image_size, device=model.device)
    dtype = PRECISIONS[precision]

    def call() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(model.device.type, dtype=dtype, enabled=precision != "fp32"):
            features: torch.Tensor = model.visual(pixels)
            return features

    return call


def files_to_vectors(setting: Setting) -> Iterator[Finding]:
    """Decoding and resizing included, in fp32 as the workers embed; the loop takes one image at a time."""
    model = encoder(setting)
    images = pictures(8 if setting.small else 2048, SOURCE_PIXELS)
    few = images[: 4 if setting.small else 256]
    embed_images(model, few)  # starts what is started once
    naive(model, few[:4])
    ours = len(images) / once(lambda: embed_images(model, images), model.device)
    with torch_as_it_comes():
        loop = len(few) / once(lambda: naive(model, few), model.device)
    figures = {"images_per_s": ours, "naive_images_per_s": loop, "ratio": ours / loop}
    yield Finding("files to vectors", None, figures)


@torch.inference_mode()
def naive(model: LoadedEncoder, images: Sequence[bytes]) -> np.ndarray:
    """As open_clip's README shows it, image by image."""
    rows = []
    for data in images:
        pixels = model.preprocess(Image.open(io.BytesIO(data))).unsqueeze(0).to(model.device)
        features = model.model.encode_image(pixels)
        features /= features.norm(dim=-1, keepdim=True)
        rows.append(features.cpu().numpy())
    return np.concatenate(rows)
