"""Embeddings of images and texts: as on the CPU, and the same bytes however the work is cut."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from gpu.findings import CPU, Finding, Setting, close, same_bytes
from gpu.model_configs import VIT_B_16
from gpu.models import backbone, clip
from support.tiny_images import COLOURS, SHAPES, draw_shape
from support.tiny_models import ARCHITECTURES, MODEL_CONFIG
from touchstone_contracts.catalogue import ClassLabel
from touchstone_encoders.embedding import BATCH, class_vectors, embed_images, embed_texts
from touchstone_encoders.loading import EncoderCache, LoadedEncoder, LoadedTower
from touchstone_runtime.library import Library
from touchstone_trainer.classifier import ImageClassifier, zero_shot_classifier
from touchstone_trainer.evaluation.zero_shot import embed_split
from touchstone_trainer.pixels import EvaluationImages, evaluation_pixels

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Relative. fp32 sums in another order (TF32 would give about 1e-3); bf16 has 8 bits of mantissa, fp16 has 11."""
LABELS = tuple(ClassLabel(id=number, display_name=shape) for number, shape in enumerate(SHAPES))


class Pair(NamedTuple):
    """One model on the CPU and on the device."""

    name: str
    reference: LoadedTower
    candidate: LoadedTower


def loaded_pairs(setting: Setting) -> Iterator[Pair]:
    """Both libraries; transformers, convolutions, a text tower kept apart; beyond small sizes the real ViT-B/16."""
    configs = {"resnet": MODEL_CONFIG, **ARCHITECTURES} | ({} if setting.small else {"vit-b-16": VIT_B_16})
    refs = {f"open_clip {name}": clip(setting.folder, name, config) for name, config in configs.items()}
    refs |= {f"timm {name}": backbone(setting.folder, name) for name in ("test_resnet", "test_vit")}
    library = Library(setting.folder)
    for name, ref in refs.items():
        reference, candidate = (EncoderCache(library, device) for device in (CPU, setting.device))
        yield Pair(name, reference.tower(ref), candidate.tower(ref))


def pictures(count: int, size: int = 32) -> list[bytes]:
    rng, colours = np.random.default_rng(0), list(COLOURS)
    return [
        draw_shape(SHAPES[row % len(SHAPES)], colours[row % 3], rng, size=size, encoding="JPEG") for row in range(count)
    ]


def texts(count: int) -> list[str]:
    return [f"a photo of {row} {shape}" for row in range(count) for shape in SHAPES][:count]


def parity(setting: Setting) -> Iterator[Finding]:
    """Every kind of encoder in fp32 as the workers embed, then in the precisions in which training validates."""
    images, captions = pictures(8 if setting.small else 24), texts(10)
    for name, reference, candidate in loaded_pairs(setting):
        tolerance = TOLERANCES[torch.float32]
        yield close(f"{name}, images", embed_images(candidate, images), embed_images(reference, images), tolerance)
        if isinstance(candidate, LoadedEncoder) and isinstance(reference, LoadedEncoder):
            yield close(f"{name}, texts", embed_texts(candidate, captions), embed_texts(reference, captions), tolerance)
            yield from _reduced(name, reference, candidate, images)


def _reduced(
    name: str, reference: LoadedEncoder, candidate: LoadedEncoder, images: Sequence[bytes]
) -> Iterator[Finding]:
    pixels = torch.stack([evaluation_pixels(reference, image) for image in images])
    split = EvaluationImages(pixels, np.zeros(len(images), dtype=np.int64))
    wanted = embed_split(_classifier(reference), split)
    for precision, tolerance in TOLERANCES.items():
        found = embed_split(_classifier(candidate), split, precision)
        yield close(f"{name}, split in {str(precision).removeprefix('torch.')}", found, wanted, tolerance)


def _classifier(encoder: LoadedEncoder) -> ImageClassifier:
    return zero_shot_classifier(encoder, class_vectors(encoder, LABELS, ("a {name}",), normalize_each=True))


def bytes_whatever_the_split(setting: Setting) -> Iterator[Finding]:
    """A set of images embedded whole, in part, in pieces of whole batches and twice: the same bytes each time.

    What is promised is an image's row at its position in a batch, whoever comes after it. Elsewhere in the batch some
    kernels sum in another order (on an H100 those of ViT-B/16 and of a small ResNet). On CPUs, where a batch is as long
    as what is left of the set, not even a shorter set is promised to give the same bytes."""
    count = 2 * BATCH + 6
    images, captions = pictures(count), texts(count)
    lengths = (BATCH, count) if setting.device.type == "cpu" else (1, 7, BATCH - 1, BATCH, BATCH + 1, count)
    for name, _, tower in loaded_pairs(setting):
        if setting.small and name not in ("open_clip vit", "timm test_resnet"):
            continue
        whole = embed_images(tower, images)
        yield same_bytes(f"{name}, images twice", [whole, embed_images(tower, images)])
        for length in lengths:
            yield same_bytes(
                f"{name}, the first {length} images alone", [whole[:length], embed_images(tower, images[:length])]
            )
        pieces = [embed_images(tower, images[start : start + BATCH]) for start in range(0, count, BATCH)]
        yield same_bytes(f"{name}, images in pieces of {BATCH}", [whole, np.concatenate(pieces)])
        if isinstance(tower, LoadedEncoder):
            whole = embed_texts(tower, captions)
            pieces = [embed_texts(tower, captions[start : start + BATCH]) for start in range(0, count, BATCH)]
            yield same_bytes(f"{name}, texts in pieces of {BATCH}", [whole, np.concatenate(pieces)])
