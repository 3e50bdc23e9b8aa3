"""How fast the contrastive recipe trains ViT-B/16 in bf16: updates alone, then epochs against open_clip's loop."""

import copy
import io
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from benchmarks.training import arguments
from gpu.embedding import pictures
from gpu.findings import Finding, Setting
from gpu.speed_embedding import SOURCE_PIXELS, encoder
from gpu.timing import once, price_of_repeating, swept, torch_as_it_comes
from open_clip.loss import ClipLoss
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_encoders.embedding import class_vectors
from touchstone_encoders.loading import LoadedEncoder
from touchstone_trainer.classifier import zero_shot_classifier
from touchstone_trainer.determinism import repeatable
from touchstone_trainer.pixels import EvaluationImages, TrainingImages, decode_pixels, evaluation_pixels
from touchstone_trainer.prefetch import Loader
from touchstone_trainer.processes import ALONE
from touchstone_trainer.recipes.contrastive import ContrastiveLearner
from touchstone_trainer.recipes.gradient import Run
from touchstone_trainer.recipes.loop import Descent
from touchstone_trainer.recipes.registry import adapt
from touchstone_trainer.recipes.subject import Data, Subject

SIZES = (64, 128, 256, 512)
EPOCHS = 2
LEARNING_RATE = 1e-5
LABELS = tuple(ClassLabel(id=number, display_name=f"square number {number}") for number in range(100))
"""As many as FGVC-Aircraft has: a prompt that several images of a batch share is embedded once, by us alone."""
TEMPLATES = ("a photo of a {name}",)
THREADS = 8
"""That decode and crop, on both sides."""


def subject_of(model: LoadedEncoder) -> Subject:
    vectors = class_vectors(model, LABELS, TEMPLATES, normalize_each=True)
    return Subject(zero_shot_classifier(model, vectors), model, LABELS, TEMPLATES)


def updates(setting: Setting) -> Iterator[Finding]:
    """Forward, backward and AdamW on pixels that lie on the device already."""
    model = encoder(setting)
    sizes = (4,) if setting.small else SIZES
    yield from swept("update, bf16", partial(_update, model), sizes, "bf16", setting)
    free = _update(model, sizes[-1], lambda work, device: work())
    yield price_of_repeating("update, bf16", _update(model, sizes[-1]), free, sizes[-1], setting)


def _update(model: LoadedEncoder, size: int, way: Callable[..., object] = repeatable) -> Callable[[], object]:
    recipe = Contrastive(precision="bf16", batch_size=size)
    descent = Descent(ContrastiveLearner(subject_of(model)), recipe, [LEARNING_RATE] * 100_000, ALONE)
    shape = (size, 3, model.image_size, model.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=model.device)
    targets = torch.arange(size, device=model.device) % (len(LABELS) * len(TEMPLATES))
    return lambda: way(lambda: descent.update(pixels, targets), model.device)


def epochs(setting: Setting) -> Iterator[Finding]:
    """The same images, batch size, precision and number of updates; both decode and crop in what is timed."""
    model = encoder(setting)
    batch_size, batches = (4, 1) if setting.small else (256, 12)
    different, count = pictures(64, SOURCE_PIXELS), batch_size * batches
    images = (different * (count // len(different) + 1))[:count]
    rates = {
        name: EPOCHS * len(images) / once(partial(train, model, images, batch_size), model.device)
        for name, train in (("warm-up", ours), ("ours", ours), ("open_clip", peer))
    }
    figures = {"images_per_s": rates["ours"], "open_clip_images_per_s": rates["open_clip"]}
    yield Finding("epochs, bf16", None, figures | {"ratio": rates["ours"] / rates["open_clip"], "batch": batch_size})


def ours(model: LoadedEncoder, images: Sequence[bytes], batch_size: int) -> None:
    pixels = [decode_pixels(image) for image in images]
    heights, widths = (np.array([image.shape[axis] for image in pixels]) for axis in (1, 2))
    class_ids = np.arange(len(images)) % len(LABELS)
    validation = torch.stack([evaluation_pixels(model, image) for image in images[:4]])
    data = Data(
        TrainingImages(pixels, class_ids, heights, widths), EvaluationImages(validation, class_ids[:4]), Loader(THREADS)
    )
    recipe = Contrastive(epochs=EPOCHS, batch_size=batch_size, precision="bf16")
    train = partial(adapt, subject_of(model), data, recipe, Run(LEARNING_RATE, seed=0))
    repeatable(train, model.device)


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """As open_clip's CsvDataset reads one: decode, transform and tokenize per item."""

    def __init__(self, model: LoadedEncoder, images: Sequence[bytes], transform: Any) -> None:
        self.model, self.images, self.transform = model, images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        name = LABELS[position % len(LABELS)].display_name
        image = self.transform(Image.open(io.BytesIO(self.images[position])))
        return image, self.model.tokenize([TEMPLATES[0].replace("{name}", name)])[0]


@torch_as_it_comes()
def peer(model: LoadedEncoder, images: Sequence[bytes], batch_size: int) -> None:
    tuned = copy.deepcopy(model.model).requires_grad_(True)
    tuned.output_dict = True
    transform = open_clip.image_transform(
        model.image_size, is_train=True, mean=model.mean, std=model.std, aug_cfg={"scale": (0.9, 1.0)}
    )
    workers = THREADS if model.device.type == "cuda" else 0
    loader: Any = DataLoader(
        Pairs(model, images, transform),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=model.device.type == "cuda",
    )
    loader.num_samples, loader.num_batches = len(images), len(loader)
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    total = EPOCHS * len(loader)
    scheduler = cosine_lr(optimizer, LEARNING_RATE, int(0.1 * total), total)
    for epoch in range(EPOCHS):
        train_one_epoch(tuned, data, ClipLoss(), epoch, optimizer, None, scheduler, None, _arguments(model, batch_size))


def _arguments(model: LoadedEncoder, batch_size: int) -> Namespace:
    changed = {"device": str(model.device), "precision": "amp_bf16", "batch_size": batch_size}
    return Namespace(**vars(arguments()) | changed)
