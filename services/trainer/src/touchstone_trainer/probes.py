"""The heads an encoder is tested with: its own, and probes fitted on the target's real images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import EvaluateEncoder
from touchstone_contracts.values import StepId
from touchstone_runtime.serving import ProgressFunction

from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.evaluation.linear_probe import fit_linear_probe
from touchstone_trainer.evaluation.regularisation_path import fit_path, select_value
from touchstone_trainer.evaluation.zero_shot import embed_split
from touchstone_trainer.tools import Tools


@dataclass(frozen=True)
class Head:
    layer: nn.Linear
    regularisation: float | None = None
    """C that validation chose."""


class Probes:
    """Embeds a split once, whatever the number of metrics that need it."""

    def __init__(
        self, request: EvaluateEncoder, tools: Tools, classifier: ImageClassifier, progress: ProgressFunction
    ) -> None:
        self.request, self.tools, self.classifier, self.progress = request, tools, classifier, progress
        self._embedded: dict[StepId, tuple[torch.Tensor, np.ndarray]] = {}

    def head(self, metric: Metric) -> Head:
        if metric == "zero_shot":
            return Head(self.classifier.head)
        if metric == "linear_probe":
            return Head(self._linear_probe())
        return self._regularised_probe()

    def _embed(self, step: StepId) -> tuple[torch.Tensor, np.ndarray]:
        if step not in self._embedded:
            split = self.tools.split(step, self.request.encoder, len(self.request.classes))
            self._embedded[step] = (embed_split(self.classifier, split, progress=self.progress), split.class_ids)
        return self._embedded[step]

    def _linear_probe(self) -> nn.Linear:
        """Fitted on all real images that are not test images: train and validation (paper section 4.4)."""
        steps: Sequence[StepId] = [s for s in (self.request.train, self.request.validation) if s is not None]
        splits = [self._embed(step) for step in steps]
        return fit_linear_probe(
            torch.cat([features for features, _ in splits]),
            np.concatenate([class_ids for _, class_ids in splits]),
            len(self.request.classes),
            self.request.evaluation.linear_probe,
            derive_seed(self.request.seed, "linear probe"),
        )

    def _regularised_probe(self) -> Head:
        """Fitted on train, chosen on validation, not fitted again. Raises Invalid without a train split."""
        if self.request.train is None:
            raise Invalid(
                "the regularised probe is fitted on the train split and chosen on validation: give the target a "
                "train split or ask for linear_probe",
                code="train_split_needed",
            )
        train, validation = (self._embed(step) for step in (self.request.train, self.request.validation))
        grid = self.request.evaluation.regularised_probe
        values = np.geomspace(grid.smallest, grid.largest, grid.values)
        path = fit_path(train[0], _labels(train), len(self.request.classes), values.tolist())
        chosen = select_value(path.accuracies(validation[0], _labels(validation)))
        weights, biases = path.probe(chosen)
        layer = nn.Linear(weights.shape[1], weights.shape[0], device=weights.device).requires_grad_(False)
        layer.weight.copy_(weights)
        layer.bias.copy_(biases)
        return Head(layer, regularisation=path.values[chosen])


def _labels(embedded: tuple[torch.Tensor, np.ndarray]) -> torch.Tensor:
    features, class_ids = embedded
    return torch.from_numpy(class_ids.astype(np.int64)).to(features.device)
