"""The trainer against open_clip's own training loop: the same model, pictures, prompts, loss and number of updates.

The peer's side is `open_clip_train.train.train_one_epoch` with open_clip's image transform and tokenizer over a
map-style data set read as its `CsvDataset` reads one (decode, transform, tokenize per item), and with AdamW and the
cosine schedule of its `main`. Ours is the contrastive recipe. Both decode and crop inside what is timed."""

import copy
import io
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
import yaml
from open_clip.loss import ClipLoss
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch
from PIL import Image
from support.duels import Duel
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from touchstone_contracts.catalogue import Catalogue, ParquetFile, Target
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.embedding import class_vectors
from touchstone_encoders.loading import LoadedEncoder, load_encoder
from touchstone_runtime.library import Library
from touchstone_trainer.checkpoints import set_weights
from touchstone_trainer.classifier import ImageClassifier, zero_shot_classifier
from touchstone_trainer.pixels import EvaluationImages, TrainingImages, decode_pixels, evaluation_pixels
from touchstone_trainer.recipes.gradient import Run
from touchstone_trainer.recipes.registry import adapt
from touchstone_trainer.recipes.subject import Data, Subject

NAME = "training"
FLOOR = 1

HOME = Path(__file__).parents[2] / "miniverse"
IMAGES = 320
EPOCHS = 2
LEARNING_RATE = 1e-4
RECIPE = Contrastive(epochs=EPOCHS, batch_size=64, learning_rates=(LEARNING_RATE,))
TOLERANCE = 1.02
"""Of the final loss: the two draw different crops and orders."""


@dataclass(frozen=True)
class Work:
    encoder: LoadedEncoder
    target: Target
    images: list[bytes]
    class_ids: np.ndarray
    evaluated: EvaluationImages
    """The training images in one view, on which both results are judged."""

    @property
    def template(self) -> str:
        return self.target.templates.zero_shot[0]

    def classifier(self, encoder: LoadedEncoder) -> ImageClassifier:
        vectors = class_vectors(encoder, self.target.classes, (self.template,), normalize_each=True)
        return zero_shot_classifier(encoder, vectors)


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, work: Work, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.work, self.transform = work, transform

    def __len__(self) -> int:
        return len(self.work.images)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        name = self.work.target.classes[int(self.work.class_ids[position])].display_name
        image = self.transform(Image.open(io.BytesIO(self.work.images[position])))
        return image, self.work.encoder.tokenize([self.work.template.replace("{name}", name)])[0]


def prepare() -> Duel[ImageClassifier, ImageClassifier]:
    work = load_work()
    return Duel(ours=partial(ours, work), peer=partial(peer, work), quality=partial(quality, work), repetitions=5)


def load_work() -> Work:
    catalogue = Catalogue.model_validate(yaml.safe_load((HOME / "catalogue.yaml").read_text()))
    entry = next(encoder for encoder in catalogue.encoders if encoder.name == "mini-clip")
    encoder = load_encoder(ModelRef.of(entry), Library(HOME), torch.device("cpu"))
    target = next(target for target in catalogue.targets if target.name == "broad")
    assert isinstance(target.splits.train, ParquetFile)
    rows = pq.read_table(HOME / target.splits.train.location.removeprefix("library:")).to_pylist()
    chosen = np.random.default_rng(0).permutation(len(rows))[:IMAGES]
    images, class_ids = [rows[row]["image"] for row in chosen], np.array([rows[row]["class_id"] for row in chosen])
    assert len(images) == IMAGES
    pixels = torch.stack([evaluation_pixels(encoder, image) for image in images])
    return Work(encoder, target, images, class_ids, EvaluationImages(pixels, class_ids))


def ours(work: Work) -> ImageClassifier:
    pixels = [decode_pixels(image) for image in work.images]
    heights, widths = (np.array([image.shape[axis] for image in pixels]) for axis in (1, 2))
    classifier = work.classifier(work.encoder)
    adapted = adapt(
        Subject(classifier, work.encoder, work.target.classes, (work.template,)),
        Data(
            TrainingImages(pixels, work.class_ids, heights, widths),
            # The loop validates after every epoch, which the peer's does not: a few images, so that training is timed.
            EvaluationImages(work.evaluated.pixels[:8], work.class_ids[:8]),
        ),
        RECIPE,
        Run(LEARNING_RATE, seed=0),
    )
    set_weights(classifier, adapted.weights)
    return classifier


def peer(work: Work) -> ImageClassifier:
    torch.manual_seed(0)
    model = copy.deepcopy(work.encoder.model).requires_grad_(True)
    model.output_dict = True
    transform = open_clip.image_transform(
        work.encoder.image_size,
        is_train=True,
        mean=work.encoder.mean,
        std=work.encoder.std,
        aug_cfg={"scale": (RECIPE.crop_scale, 1.0)},
    )
    loader = DataLoader(Pairs(work, transform), batch_size=RECIPE.batch_size, shuffle=True, drop_last=True)
    loader.num_samples, loader.num_batches = len(work.images), len(loader)
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, RECIPE.beta2), weight_decay=RECIPE.weight_decay
    )
    updates = EPOCHS * len(loader)
    scheduler = cosine_lr(optimizer, LEARNING_RATE, int(RECIPE.warmup_fraction * updates), updates)
    for epoch in range(EPOCHS):
        train_one_epoch(model, data, ClipLoss(), epoch, optimizer, None, scheduler, None, arguments())
    model.eval()
    return work.classifier(LoadedEncoder(**{**vars(work.encoder), "model": model}))


def arguments() -> Namespace:
    """What `train_one_epoch` reads of open_clip's command line, at its defaults except for size and clipping."""
    return Namespace(
        device="cpu",
        precision="fp32",
        distill=False,
        accum_freq=1,
        skip_scheduler=False,
        horovod=False,
        grad_clip_norm=RECIPE.gradient_clip,
        batch_size=RECIPE.batch_size,
        world_size=1,
        rank=0,
        local_rank=0,
        log_local=False,
        log_every_n_steps=100,
        wandb=False,
    )


def quality(work: Work, ours_result: ImageClassifier, peer_result: ImageClassifier) -> bool:
    """The loss on the training images in one view, without augmentation, is as low."""
    return final_loss(work, ours_result) <= TOLERANCE * final_loss(work, peer_result)


def final_loss(work: Work, classifier: ImageClassifier) -> float:
    labels = torch.from_numpy(work.class_ids.astype(np.int64))
    with torch.inference_mode():
        logits = [classifier(pixels) for pixels in work.evaluated.pixels.split(64)]
        return float(functional.cross_entropy(torch.cat(logits), labels))
