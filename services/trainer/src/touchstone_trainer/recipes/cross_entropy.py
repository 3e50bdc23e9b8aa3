"""Fine-tuning with plain cross-entropy: image tower and text-initialised head, both trained (paper section 4.2).

No flip, no colour jitter, no weight averaging, no interpolation with the start: as the paper's code ran."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from touchstone_contracts.adaptation import CrossEntropy
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import EpochScore
from touchstone_runtime.randomness import rng_for
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.augmentation import draw_crop_boxes
from touchstone_trainer.checkpoints import Weights, copy_weights
from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.pixels import EvaluationImages, TrainingImages, cropped_batches
from touchstone_trainer.schedules import warmup_cosine, warmup_length

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Diverged(Invalid):
    """The loss is no longer a number: another learning rate is needed, another attempt would not help."""

    code = "diverged"
    title = "Training diverged"


@dataclass(frozen=True)
class Adapted:
    """Weights of the epoch with the best validation accuracy; of equally good ones the earliest."""

    weights: Weights
    best_epoch: int
    epochs: tuple[EpochScore, ...]
    updates: int
    peak_lr_fraction: float
    """Highest learning rate reached / nominal: below 1 where the run ended within its warm-up."""


def adapt(
    classifier: ImageClassifier,
    training: TrainingImages,
    validation: EvaluationImages,
    recipe: CrossEntropy,
    *,
    learning_rate: float,
    seed: int,
    image_size: int,
    loader_threads: int = 1,
    progress: ProgressFunction = no_progress,
) -> Adapted:
    """Trains `classifier` in place. Raises Diverged. Epochs count from 1; `progress` counts updates."""
    device = classifier.head.weight.device
    precision = DTYPES[recipe.precision]
    classifier.requires_grad_(True)
    parameters = list(classifier.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, recipe.beta2), weight_decay=recipe.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    updates = recipe.epochs * math.ceil(len(training) / recipe.batch_size)
    fractions = warmup_cosine(updates, warmup_length(recipe, updates))

    scores: list[EpochScore] = []
    best: Weights = {}
    update = 0
    # Drop-out inside a tower draws from torch's global generator, which is given back as it was.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, "dropout"))
        for epoch in range(1, recipe.epochs + 1):
            order = rng_for(seed, "order", epoch).permutation(len(training))
            boxes = draw_crop_boxes(training.heights, training.widths, recipe.crop_scale, rng_for(seed, "crops", epoch))
            batches = cropped_batches(
                training, order, boxes, batch_size=recipe.batch_size, image_size=image_size, threads=loader_threads
            )
            classifier.train()
            total_loss = torch.zeros((), device=device)
            for pixels, labels in batches:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * fractions[update]
                with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
                    logits = classifier(pixels.to(device, non_blocking=True))  # (batch, classes)
                loss = functional.cross_entropy(logits.float(), labels.to(device, non_blocking=True))
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
                scaler.step(optimizer)
                scaler.update()
                total_loss += loss.detach() * len(labels)
                update += 1
                progress(update, updates)

            # Looked at once per epoch: every look makes a GPU wait.
            train_loss = float(total_loss) / len(training)
            features = embed_split(classifier, validation, precision)
            if not math.isfinite(train_loss) or not features.isfinite().all():
                raise Diverged(f"epoch {epoch} ends with loss {train_loss} at learning rate {learning_rate}")
            predicted = predict(classifier.head, features)
            score = EpochScore(
                epoch=epoch,
                train_loss=train_loss,
                validation_accuracy=accuracy(predicted, validation.class_ids),
            )
            if not scores or score.validation_accuracy > max(s.validation_accuracy for s in scores):
                best = copy_weights(classifier)
            scores.append(score)

    return Adapted(
        weights=best,
        best_epoch=1 + int(np.argmax([score.validation_accuracy for score in scores])),
        epochs=tuple(scores),
        updates=updates,
        peak_lr_fraction=max(fractions),
    )
