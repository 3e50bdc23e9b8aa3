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
    # Contiguous: joining transposed arrays gives a transposed one, which every product and operation is slower on.
    weights = np.ascontiguousarray(np.concatenate([layer.weight.numpy().T, layer.bias.numpy()[None]]))
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
    shuffled = np.empty_like(images)
    for epoch in range(settings.epochs):
        order = rng_for(seed, "linear probe order", epoch).permutation(len(images))
        images.take(order, axis=0, out=shuffled, mode="clip")  # the default mode would go through another copy
        truth = class_ids[order]
        for start in range(0, len(order), settings.batch_size):
            batch = slice(start, start + settings.batch_size)
            gradient = _summed_gradient(weights, shuffled[batch], truth[batch])
            optimizer.step(gradient, len(truth[batch]), settings.learning_rate * next(fractions))


def _summed_gradient(weights: Matrix, images: Matrix, class_ids: np.ndarray) -> Matrix:
    """Of the cross-entropy summed over images: images times (probabilities minus one-hot labels)."""
    # Classes before images: NumPy reduces over the first axis a vector at a time, over a short last one it does not.
    residuals: Matrix = weights.T @ images.T  # (classes, images)
    residuals -= residuals.max(axis=0)
    np.exp(residuals, out=residuals)
    residuals /= residuals.sum(axis=0)
    residuals[class_ids, np.arange(len(class_ids))] -= 1
    gradient: Matrix = images.T @ residuals.T
    return gradient


class _AdamW:
    """Decoupled weight decay and a gradient clipped to a length, on one matrix and in place.

    Both moments are kept as decaying sums; what would make them averages is one factor of the rate."""

    def __init__(self, weights: Matrix, settings: LinearProbe) -> None:
        self.weights, self.settings = weights, settings
        self.sums, self.squares = np.zeros_like(weights), np.zeros_like(weights)
        self.updates = 0

    def step(self, gradient: Matrix, images: int, rate: float) -> None:
        """`gradient` is a sum over `images` and is overwritten."""
        self.updates += 1
        length = math.sqrt(np.vdot(gradient, gradient)) / images
        gradient *= min(1.0, self.settings.gradient_clip / (length + 1e-6)) / images
        self.sums *= BETAS[0]
        self.sums += gradient
        self.squares *= BETAS[1]
        self.squares += np.square(gradient, out=gradient)
        # The averages are sums / weight[0] and squares / weight[1]. sqrt(squares / weight) + epsilon stands in the
        # denominator, multiplied through by the root of the weight.
        weight = [(1 - beta**self.updates) / (1 - beta) for beta in BETAS]
        denominator = np.sqrt(self.squares, out=gradient)
        denominator += EPSILON * math.sqrt(weight[1])
        change = np.divide(self.sums, denominator, out=gradient)
        change *= rate * math.sqrt(weight[1]) / weight[0]
        self.weights *= 1 - rate * self.settings.weight_decay
        self.weights -= change
