"""The heads an encoder is tested with, by metric: its own, and probes fitted on the target's real images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_contracts.registry import Registry
from touchstone_contracts.steps import EvaluateEncoder
from touchstone_contracts.values import StepId
from touchstone_runtime.serving import ProgressFunction

from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.evaluation.linear_probe import fit_linear_probe
from touchstone_trainer.evaluation.regularisation_path import fit_path, select_value
from touchstone_trainer.features import EmbeddedSplit
from touchstone_trainer.tools import Tools


@dataclass(frozen=True)
class Head:
    layer: nn.Linear
    regularisation: float | None = None
    """C that validation chose."""


class Probes:
    """Embeds a split once, whatever the number of metrics that need it."""

    def __init__(
        self,
        request: EvaluateEncoder,
        tools: Tools,
        classifier: ImageClassifier,
        progress: ProgressFunction,
        *,
        frozen: bool,
    ) -> None:
        """`frozen`: whether the tower is the untouched one, whose features are shared with other runs."""
        self.request, self.tools, self.classifier, self.progress = request, tools, classifier, progress
        self.frozen = frozen
        self._embedded: dict[StepId, EmbeddedSplit] = {}

    def head(self, metric: Metric) -> Head:
        """Raises Invalid, also where no head of that metric is registered."""
        return METRIC_HEADS[metric](self)

    def embed(self, step: StepId) -> EmbeddedSplit:
        if step not in self._embedded:
            ref, classes = self.request.encoder, len(self.request.classes)
            self._embedded[step] = self.tools.embedded_split(
                step, ref, classes, self.classifier, self.progress, frozen=self.frozen
            )
        return self._embedded[step]


def zero_shot_head(probes: Probes) -> Head:
    return Head(probes.classifier.head)


def linear_probe(probes: Probes) -> Head:
    """Fitted on all real images that are not test images: train and validation (paper section 4.4)."""
    request = probes.request
    splits = [probes.embed(step) for step in (request.train, request.validation) if step is not None]
    layer = fit_linear_probe(
        torch.cat([split.features for split in splits]),
        np.concatenate([split.class_ids for split in splits]),
        len(request.classes),
        request.evaluation.linear_probe,
        derive_seed(request.seed, "linear probe"),
    )
    return Head(layer)


def regularised_probe(probes: Probes) -> Head:
    """Fitted on train, chosen on validation, not fitted again. Raises Invalid without a train split."""
    request = probes.request
    if request.train is None:
        raise Invalid(
            "the regularised probe is fitted on the train split and chosen on validation: give the target a "
            "train split or ask for linear_probe",
            code="train_split_needed",
        )
    train, validation = (probes.embed(step) for step in (request.train, request.validation))
    grid = request.evaluation.regularised_probe
    values = np.geomspace(grid.smallest, grid.largest, grid.values)
    path = fit_path(train.features, train.labels, len(request.classes), values.tolist())
    chosen = select_value(path.accuracies(validation.features, validation.labels))
    weights, biases = path.probe(chosen)
    layer = nn.Linear(weights.shape[1], weights.shape[0], device=weights.device).requires_grad_(False)
    layer.weight.copy_(weights)
    layer.bias.copy_(biases)
    return Head(layer, regularisation=path.values[chosen])


METRIC_HEADS = Registry[Callable[[Probes], Head]]("metric")
METRIC_HEADS.register("zero_shot", zero_shot_head)
METRIC_HEADS.register("linear_probe", linear_probe)
METRIC_HEADS.register("regularised_probe", regularised_probe)
