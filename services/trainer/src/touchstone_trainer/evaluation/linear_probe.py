"""A fresh linear layer on frozen features of the target's real images (paper section 4.4)."""

import math

import numpy as np
import torch
from torch import nn
from touchstone_contracts.adaptation import LinearProbe
from touchstone_contracts.identity import derive_seed
from touchstone_runtime.randomness import rng_for

from touchstone_trainer.schedules import warmup_cosine

BETAS = (0.9, 0.95)
"""The same as in adaptation: the paper states none of its own for the probe."""
EPSILON = 1e-8
"""AdamW's default in PyTorch."""
LONGEST_WARMUP = 0.25
"""Of all updates. Changes nothing at the paper's sizes; with a few hundred images 200 updates may be the whole run."""


def fit_linear_probe(
    features: torch.Tensor, class_ids: np.ndarray, classes: int, settings: LinearProbe, seed: int
) -> nn.Linear:
    """Features L2-normalised (images, dimension). The learning rate follows one correct warm-up and cosine.

    The updates of PyTorch's AdamW on cross-entropy, written out: one matrix holds weights and bias, its gradient is
    known in closed form, and images are shuffled once an epoch so that a batch is a slice."""
    layer = _fresh_layer(features, classes, seed)
    images = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    labels = torch.from_numpy(class_ids.astype(np.int64)).to(features.device)[:, None]
    weights = torch.cat([layer.weight.T, layer.bias[None]]).contiguous()
    _train(weights, images, labels, settings, seed)
    layer.weight.copy_(weights[:-1].T)
    layer.bias.copy_(weights[-1])
    return layer.requires_grad_()


def _fresh_layer(features: torch.Tensor, classes: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "linear probe weights"))
        return nn.Linear(features.shape[1], classes).to(features.device).requires_grad_(False)


def _train(weights: torch.Tensor, images: torch.Tensor, labels: torch.Tensor, settings: LinearProbe, seed: int) -> None:
    """Changes `weights` (dimension + 1, classes) in place."""
    updates = settings.epochs * -(-len(labels) // settings.batch_size)
    fractions = warmup_cosine(updates, min(settings.warmup_updates, int(LONGEST_WARMUP * updates)))
    optimizer = _AdamW(weights, settings)
    rates = iter(fractions)
    for epoch in range(settings.epochs):
        order = torch.from_numpy(rng_for(seed, "linear probe order", epoch).permutation(len(labels))).to(images.device)
        batches = zip(images[order].split(settings.batch_size), labels[order].split(settings.batch_size), strict=True)
        for batch, truth in batches:
            residuals = torch.softmax(batch @ weights, dim=1)
            residuals.scatter_add_(1, truth, torch.full_like(truth, -1, dtype=residuals.dtype))
            optimizer.step((batch.T @ residuals).div_(len(batch)), settings.learning_rate * next(rates))


class _AdamW:
    """Decoupled weight decay and a gradient clipped to a length, on one matrix and in place."""

    def __init__(self, weights: torch.Tensor, settings: LinearProbe) -> None:
        self.weights, self.settings = weights, settings
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)
        self.updates = 0

    def step(self, gradient: torch.Tensor, rate: float) -> None:
        self.updates += 1
        length = float(gradient.norm())
        gradient.mul_(min(1.0, self.settings.gradient_clip / (length + 1e-6)))
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        corrections = 1 - BETAS[0] ** self.updates, math.sqrt(1 - BETAS[1] ** self.updates)
        # sqrt(square) / c + epsilon in the denominator, multiplied through by c.
        denominator = self.square.sqrt().add_(EPSILON * corrections[1])
        self.weights.mul_(1 - rate * self.settings.weight_decay)
        self.weights.addcdiv_(self.mean, denominator, value=-rate * corrections[1] / corrections[0])
