"""A fresh linear layer on frozen features of the target's real images (paper section 4.4)."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from touchstone_contracts.adaptation import LinearProbe
from touchstone_contracts.identity import derive_seed
from touchstone_runtime.randomness import rng_for

from touchstone_trainer.schedules import warmup_cosine

Matrix = npt.NDArray[np.float32]

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
    known in closed form, and images are shuffled once an epoch so that a batch is a slice. In NumPy, whose products
    and small operations cost a fraction of a framework's on one CPU thread; the result is where the features are."""
    layer = _fresh_layer(features, classes, seed)
    images = np.concatenate([features.cpu().numpy(), np.ones((len(features), 1), np.float32)], axis=1)
    weights = np.concatenate([layer.weight.numpy().T, layer.bias.numpy()[None]])
    _train(weights, images, class_ids, settings, seed)
    layer.weight.copy_(torch.from_numpy(weights[:-1].T))
    layer.bias.copy_(torch.from_numpy(weights[-1]))
    return layer.to(features.device).requires_grad_()


def _fresh_layer(features: torch.Tensor, classes: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "linear probe weights"))
        return nn.Linear(features.shape[1], classes).requires_grad_(False)


def _train(weights: Matrix, images: Matrix, class_ids: np.ndarray, settings: LinearProbe, seed: int) -> None:
    """Changes `weights` (dimension + 1, classes) in place."""
    updates = settings.epochs * -(-len(images) // settings.batch_size)
    fractions = iter(warmup_cosine(updates, min(settings.warmup_updates, int(LONGEST_WARMUP * updates))))
    optimizer = _AdamW(weights, settings)
    for epoch in range(settings.epochs):
        order = rng_for(seed, "linear probe order", epoch).permutation(len(images))
        shuffled, truth = images[order], class_ids[order]
        for start in range(0, len(order), settings.batch_size):
            batch = slice(start, start + settings.batch_size)
            gradient = _gradient(weights, shuffled[batch], truth[batch])
            optimizer.step(gradient, settings.learning_rate * next(fractions))


def _gradient(weights: Matrix, images: Matrix, class_ids: np.ndarray) -> Matrix:
    """Of the mean cross-entropy: images times (probabilities minus one-hot labels)."""
    residuals = images @ weights
    residuals -= residuals.max(axis=1, keepdims=True)
    np.exp(residuals, out=residuals)
    residuals /= residuals.sum(axis=1, keepdims=True)
    residuals[np.arange(len(class_ids)), class_ids] -= 1
    gradient: Matrix = images.T @ residuals
    gradient /= len(images)
    return gradient


class _AdamW:
    """Decoupled weight decay and a gradient clipped to a length, on one matrix and in place."""

    def __init__(self, weights: Matrix, settings: LinearProbe) -> None:
        self.weights, self.settings = weights, settings
        self.mean, self.square = np.zeros_like(weights), np.zeros_like(weights)
        self.updates = 0

    def step(self, gradient: Matrix, rate: float) -> None:
        """Overwrites `gradient`."""
        self.updates += 1
        length = math.sqrt(np.vdot(gradient, gradient))
        gradient *= min(1.0, self.settings.gradient_clip / (length + 1e-6))
        self.mean *= BETAS[0]
        self.mean += (1 - BETAS[0]) * gradient
        np.square(gradient, out=gradient)
        gradient *= 1 - BETAS[1]
        self.square *= BETAS[1]
        self.square += gradient
        corrections = 1 - BETAS[0] ** self.updates, math.sqrt(1 - BETAS[1] ** self.updates)
        # sqrt(square) / c + epsilon in the denominator, multiplied through by c.
        denominator = np.sqrt(self.square, out=gradient)
        denominator += EPSILON * corrections[1]
        self.weights *= 1 - rate * self.settings.weight_decay
        self.weights -= (rate * corrections[1] / corrections[0]) * np.divide(self.mean, denominator, out=denominator)
