"""The training loop of every recipe that descends a gradient: epochs, validation, best epoch (paper section 4.2)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.class_labels import ClassLabelOptimisation
from touchstone_contracts.recipes.optimisation import Optimisation, TowerOptimisation
from touchstone_contracts.steps import EpochScore, EpochsSoFar
from touchstone_runtime.randomness import rng_for
from touchstone_runtime.savepoints import NO_SAVEPOINTS, Savepoints
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.augmentation import draw_crop_boxes
from touchstone_trainer.checkpoints import Weights, copy_weights, interpolated, set_weights
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.pixels import TrainingImages, cropped_batches
from touchstone_trainer.processes import ALONE, Processes
from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.recipes.savepoints import Position, dump_state, restore_state
from touchstone_trainer.recipes.subject import Data, Subject
from touchstone_trainer.schedules import warmup_cosine, warmup_length
from touchstone_trainer.soft_labels import mixed, weighed

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
    peak_lr_fraction: float | None
    """Highest learning rate reached / nominal: below 1 where the run ended within its warm-up."""
    mixing_weight: float | None = None
    first_stage: tuple[EpochScore, ...] = ()
    """Of a recipe of two; `epochs` are of the second."""


def train(
    learner: Learner,
    subject: Subject,
    data: Data,
    recipe: Optimisation,
    *,
    learning_rate: float,
    seed: int,
    processes: Processes = ALONE,
    progress: ProgressFunction = no_progress,
    savepoints: Savepoints = NO_SAVEPOINTS,
    part: str = "training",
) -> Adapted:
    """Trains `learner`. What counts, on validation too, are the weights as stored: they pass through
    `subject.classifier`. Raises Diverged. Epochs count from 1; `progress` counts updates. Alone it goes on where `part`
    was saved last, to the same weights; several processes begin anew."""
    updates = recipe.epochs * math.ceil(len(data.training) / recipe.batch_size)
    fractions = warmup_cosine(updates, warmup_length(recipe, updates))
    descent = Descent(learner, recipe, [learning_rate * fraction for fraction in fractions], processes)
    selection = Selection(subject, data, recipe)
    watched = savepoints if processes.rank == 0 else NO_SAVEPOINTS
    savepoints = savepoints if processes.count == 1 else NO_SAVEPOINTS
    # Drop-out inside a tower draws from torch's global generator, which is given back as it was.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, "dropout"))
        position = restore_state(savepoints.load(part), learner, descent, selection)
        while position.epoch <= recipe.epochs:
            learner.train()
            total_loss = torch.zeros((), device=subject.tower.device) if position.loss is None else position.loss
            for pixels, targets in _batches(learner, subject, data, recipe, processes, seed, position):
                total_loss += descent.update(pixels, targets) * len(targets)
                progress(descent.done, updates)
                position.batches, position.loss = position.batches + 1, total_loss
                if savepoints.due():
                    savepoints.save(part, dump_state(learner, descent, selection, position))
            # Looked at once per epoch: every look makes a GPU wait.
            selection.consider(learner.weights(), position.epoch, float(total_loss) / len(data.training))
            watched.show(EpochsSoFar(epochs=tuple(selection.scores), planned=recipe.epochs))
            position = Position(position.epoch + 1)
        if savepoints.saved(part):
            # Whatever follows in the same step, this part is not repeated.
            savepoints.save(part, dump_state(learner, descent, selection, position))
    return Adapted(
        weights=selection.weights,
        best_epoch=selection.best_epoch,
        epochs=tuple(selection.scores),
        updates=updates,
        peak_lr_fraction=max(fractions),
    )


def _batches(
    learner: Learner,
    subject: Subject,
    data: Data,
    recipe: Optimisation,
    processes: Processes,
    seed: int,
    position: Position,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(pixels of this process's share, targets of the whole batch) of what is left of an epoch, whose last batch may be
    smaller."""
    training, device, epoch, done = data.training, subject.tower.device, position.epoch, position.batches
    order = rng_for(seed, "order", epoch).permutation(len(training))
    boxes = draw_crop_boxes(training.heights, training.widths, recipe.crop_scale, rng_for(seed, "crops", epoch))
    rng = rng_for(seed, "targets", epoch)
    batches = [order[start : start + recipe.batch_size] for start in range(0, len(order), recipe.batch_size)]
    augmentation = recipe.batch_augmentation if isinstance(recipe, ClassLabelOptimisation) else None
    # An image may be mixed with one of another process's share, so each makes the whole batch and then takes its own.
    made = batches if augmentation else [processes.share(batch) for batch in batches]
    for batch in batches[:done]:
        learner.targets(_class_ids(training, batch), rng)  # draws what it had drawn
    pixels = cropped_batches(training, made[done:], boxes, image_size=subject.tower.image_size, loader=data.loader)
    for number, (cropped, batch) in enumerate(zip(pixels, batches[done:], strict=True), start=done):
        class_ids = _class_ids(training, batch)
        targets = learner.targets(class_ids, rng)
        if training.weights is not None:
            targets = weighed(class_ids, training.weights[batch], len(subject.classes))
        if augmentation:
            purpose = (seed, "batch augmentation", epoch, number)
            cropped, targets = mixed(cropped, targets, augmentation, len(subject.classes), *purpose)
            cropped = cropped[processes.share(np.arange(len(batch)))]
        yield cropped.to(device, non_blocking=True), targets.to(device, non_blocking=True)


def _class_ids(training: TrainingImages, batch: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(training.class_ids[batch].astype(np.int64))


class BatchLoss(nn.Module):
    """The loss of a whole batch: micro-batches through the model in reduced precision, the loss itself in float32."""

    def __init__(self, learner: Learner, recipe: Optimisation, processes: Processes) -> None:
        super().__init__()
        self.learner, self.processes = learner, processes
        self.precision, self.micro_batch_size = DTYPES[recipe.precision], recipe.micro_batch_size

    def forward(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        mine = targets[torch.from_numpy(self.processes.share(np.arange(len(targets)))).to(targets.device)]
        with torch.autocast(pixels.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            share = self._outputs(pixels, mine)
        outputs = self.processes.gather(share)[: len(targets)]
        return self.learner.loss(outputs.float(), targets)

    def _outputs(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Micro-batches are run again in the backward pass, so that the activations of only one are held at a time.

        Exact for losses that compare the images of a batch, too, which adding up gradients of parts is not."""
        size = self.micro_batch_size
        if size is None or size >= len(pixels):
            return self.learner.outputs(pixels, targets)
        parts = zip(pixels.split(size), targets.split(size), strict=True)
        return torch.cat([checkpoint(self.learner.outputs, *part, use_reentrant=False) for part in parts])


class Descent:
    """AdamW on everything the learner trains, one learning rate per update."""

    def __init__(
        self, learner: Learner, recipe: Optimisation, learning_rates: list[float], processes: Processes
    ) -> None:
        self.parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, betas=(0.9, recipe.beta2), weight_decay=recipe.weight_decay, fused=True
        )
        device = self.parameters[0].device.type
        self.scaler = torch.amp.GradScaler(device, enabled=recipe.precision == "fp16")
        self.gradient_clip, self.learning_rates = recipe.gradient_clip, learning_rates
        self.batch_loss = processes.wrap(BatchLoss(learner, recipe, processes))
        self.done = 0

    def update(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss before the update, detached."""
        self.optimizer.param_groups[0]["lr"] = self.learning_rates[self.done]
        loss: torch.Tensor = self.batch_loss(pixels, targets)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.done += 1
        return loss.detach()


@dataclass
class Selection:
    """Keeps the weights of the epoch with the best validation accuracy in memory."""

    subject: Subject
    data: Data
    recipe: Optimisation
    scores: list[EpochScore] = field(default_factory=list)
    weights: Weights = field(default_factory=dict)
    best_epoch: int = 0
    frozen: torch.Tensor | None = None
    """The validation images' features, where the tower stays as it is."""

    def __post_init__(self) -> None:
        self.untouched = copy_weights(self.subject.classifier)

    def consider(self, tuned: Weights, epoch: int, train_loss: float) -> None:
        """Raises Diverged."""
        weights = self._stored(tuned)
        classifier, validation = self.subject.classifier, self.data.validation
        features = self._features(set_weights(classifier, weights))
        if not math.isfinite(train_loss) or not features.isfinite().all():
            raise Diverged(f"epoch {epoch} ends with loss {train_loss}: take a smaller learning rate")
        found = accuracy(predict(classifier.head, features), validation.class_ids)
        if not self.scores or found > max(score.validation_accuracy for score in self.scores):
            self.weights, self.best_epoch = weights, epoch
        self.scores.append(EpochScore(epoch=epoch, train_loss=train_loss, validation_accuracy=found))

    def _features(self, tower_changed: bool) -> torch.Tensor:
        if tower_changed or self.frozen is None:
            self.frozen = embed_split(self.subject.classifier, self.data.validation, DTYPES[self.recipe.precision])
        return self.frozen

    def _stored(self, tuned: Weights) -> Weights:
        if isinstance(self.recipe, TowerOptimisation) and self.recipe.interpolation != 1.0:
            return interpolated(self.untouched, tuned, self.recipe.interpolation)
        return tuned
