"""Every recipe trained on the device: the losses and weights of the CPU, and the same weights twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gpu.findings import CPU, Finding, Setting, close, same_bytes
from gpu.models import backbone, clip
from structlog.testing import capture_logs
from support.tiny_models import ARCHITECTURES
from support.trainer_world import CLASSES, TEMPLATES, square
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_encoders.embedding import class_vectors
from touchstone_encoders.loading import EncoderCache, LoadedEncoder, LoadedTower
from touchstone_runtime.library import Library
from touchstone_trainer.checkpoints import Weights, dump_weights
from touchstone_trainer.classifier import ImageClassifier, untaught_classifier, zero_shot_classifier
from touchstone_trainer.determinism import repeatable
from touchstone_trainer.pixels import EvaluationImages, TrainingImages, decode_pixels, evaluation_pixels
from touchstone_trainer.processes import ALONE
from touchstone_trainer.recipes.class_mean_head import start_from_class_means
from touchstone_trainer.recipes.gradient import ByGradient, Run
from touchstone_trainer.recipes.loop import Adapted, BatchLoss
from touchstone_trainer.recipes.registry import RECIPE_FUNCTIONS, adapt
from touchstone_trainer.recipes.subject import Data, Subject

Precision = Literal["fp32", "bf16", "fp16"]
LOSS_TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 5e-3}
"""Relative, of the mean losses of all epochs; fp16: of the first batch."""
CHANGE_TOLERANCES: dict[Precision, float] = {"fp32": 2e-2, "bf16": 0.2}
"""Of the difference between the weights, relative to what training changed. Wide, as AdamW's first updates have the
full length whatever the size of the gradient: one near 0 that changes its sign by rounding moves a weight the other
way. A wrong gradient or update gives 1 and more."""
GRADIENT_TOLERANCE = 5e-2
"""fp16: of the first batch. Whole runs are not compared: until its loss scale has settled, updates are skipped."""
LOSS_SCALE = 2.0**10
IMAGES = 24
SIGLIP = ARCHITECTURES["siglip"]
MODELS = ARCHITECTURES | {"siglip-160": SIGLIP | {"vision_cfg": SIGLIP["vision_cfg"] | {"image_size": 160}}}
"""160 pixels are what timm's small transformer was made for. At other sizes it resamples its position embedding in each
forward pass, and the gradient of that has no deterministic kernel on a GPU."""


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    recipe: Any
    learning_rate: float | None
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    resamples: bool = False

    def recipe_in(self, precision: Precision) -> Recipe:
        recipe: Recipe = self.recipe
        return recipe if isinstance(recipe, HeadOnly) else recipe.model_copy(update={"precision": precision})


SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 8, "warmup_fraction": 0.5}
CASES = (
    Case("cross_entropy", "vit", CrossEntropy(**SHORT), 1e-3),
    Case("contrastive", "vit", Contrastive(**SHORT), 1e-3),
    Case("lora", "vit", LoRA(**SHORT, rank=2), 1e-2),
    Case("learned_prompts", "vit", LearnedPrompts(**SHORT), 1e-2),
    Case("head_only", "vit", HeadOnly(), None, ("fp32",)),
    Case("cross_entropy of convolutions", "convnext", CrossEntropy(**SHORT), 1e-3),
    Case("cross_entropy of a timm backbone", "test_vit", CrossEntropy(**SHORT), 1e-3),
    Case("contrastive with pairwise sigmoids", "siglip-160", Contrastive(**SHORT), 1e-3, ("fp32", "bf16")),
    Case("contrastive of resampled positions", "siglip", Contrastive(**SHORT), 1e-3, ("fp32", "bf16"), resamples=True),
    Case("contrastive in micro-batches", "vit", Contrastive(**SHORT, micro_batch_size=3), 1e-3, ("fp32", "bf16")),
)
BRIEF = ("cross_entropy", "contrastive", "lora", "learned_prompts", "head_only")
"""The five recipes; the other cases are variations of their models."""


def cases(setting: Setting) -> Iterator[Case]:
    yield from (case for case in CASES if not setting.small or case.name in BRIEF)


def load(folder: Path, model: str, device: torch.device) -> LoadedTower:
    ref = clip(folder, model, MODELS[model]) if model in MODELS else backbone(folder, model)
    return EncoderCache(Library(folder), device).tower(ref)


def untouched(tower: LoadedTower) -> ImageClassifier:
    if isinstance(tower, LoadedEncoder):
        vectors = class_vectors(tower, CLASSES, TEMPLATES, normalize_each=True)
        return zero_shot_classifier(tower, vectors)
    return untaught_classifier(tower, len(CLASSES))


def training_data(tower: LoadedTower) -> Data:
    class_ids = np.arange(IMAGES) % len(CLASSES)
    # Every fourth image shows another class's colour, so that there is something left to learn.
    shown = (class_ids + (np.arange(IMAGES) % 4 == 0)) % len(CLASSES)
    encoded = [square(int(colour), number) for number, colour in enumerate(shown)]
    decoded = [decode_pixels(image) for image in encoded]
    heights, widths = (np.array([image.shape[axis] for image in decoded]) for axis in (1, 2))
    pixels = torch.stack([evaluation_pixels(tower, image) for image in encoded])
    return Data(TrainingImages(decoded, class_ids, heights, widths), EvaluationImages(pixels, class_ids))


def trained(tower: LoadedTower, case: Case, precision: Precision) -> Adapted:
    """As an `adapt_encoder` step trains."""
    data = training_data(tower)

    def train() -> Adapted:
        subject = Subject(untouched(tower), tower, CLASSES, TEMPLATES)
        return adapt(subject, data, case.recipe_in(precision), Run(case.learning_rate, seed=0))

    return repeatable(train, tower.device)


def parity(setting: Setting) -> Iterator[Finding]:
    for case in cases(setting):
        reference, candidate = (load(setting.folder, case.model, device) for device in (CPU, setting.device))
        before = dict(untouched(reference).state_dict())
        wanted = trained(reference, case, "fp32")
        for precision in case.precisions:
            what = f"{case.name}, {precision}"
            if precision == "fp16":
                yield from _first_batch(what, reference, candidate, case)
                continue
            found = trained(candidate, case, precision)
            yield close(f"{what}, losses", losses(found), losses(wanted), LOSS_TOLERANCES[precision])
            change = change_of(found.weights, before), change_of(wanted.weights, before)
            yield close(f"{what}, change of the weights", *change, CHANGE_TOLERANCES[precision])


def _first_batch(what: str, reference: LoadedTower, candidate: LoadedTower, case: Case) -> Iterator[Finding]:
    wanted, wanted_gradient = loss_and_gradient(reference, case, "fp32")
    found, gradient = loss_and_gradient(candidate, case, "fp16")
    yield close(f"{what}, loss of a batch", found, wanted, LOSS_TOLERANCES["fp16"])
    yield close(f"{what}, gradient of a batch", gradient, wanted_gradient, GRADIENT_TOLERANCE)


def loss_and_gradient(tower: LoadedTower, case: Case, precision: Precision) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the untouched model on a batch of all images; the gradient of everything it trains in one vector."""
    data = training_data(tower)
    subject = Subject(untouched(tower), tower, CLASSES, TEMPLATES)
    if not isinstance(tower, LoadedEncoder):
        start_from_class_means(subject, data)
    recipe: Any = case.recipe_in(precision)
    adapting = RECIPE_FUNCTIONS.of(recipe)
    assert isinstance(adapting, ByGradient)
    learner = adapting.learner(subject, recipe, 0)
    targets = learner.targets(torch.from_numpy(data.training.class_ids), np.random.default_rng(0)).to(tower.device)
    [pixels] = data.validation.batches(len(data.validation))
    loss = BatchLoss(learner.train(), recipe, ALONE)(pixels.to(tower.device), targets)
    (LOSS_SCALE * loss).backward()
    gradients = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
    return loss.detach(), torch.cat([gradient.flatten().double().cpu() for gradient in gradients]) / LOSS_SCALE


def losses(adapted: Adapted) -> np.ndarray:
    return np.array([epoch.train_loss for epoch in adapted.epochs])


def change_of(weights: Weights, before: Weights) -> torch.Tensor:
    """All that training changed in one vector."""
    return torch.cat([(weights[name] - before[name]).flatten().double() for name in sorted(weights)])


def same_weights_twice(setting: Setting) -> Iterator[Finding]:
    """What has no deterministic kernel on a GPU still trains, and the log says that its bytes may differ."""
    for case in cases(setting):
        tower = load(setting.folder, case.model, setting.device)
        for precision in case.precisions:
            with capture_logs() as lines:
                stored = [dump_weights(trained(tower, case, precision).weights) for _ in range(2)]
            warnings = sum(line["event"] == "training.not_repeatable" for line in lines)
            if case.resamples and setting.device.type == "cuda":
                yield Finding(f"{case.name}, {precision}, the log says so", warnings == 2, {"warnings": warnings})
            else:
                yield same_bytes(f"{case.name}, {precision}", stored)
