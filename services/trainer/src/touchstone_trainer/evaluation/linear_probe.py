"""A fresh linear layer on frozen features of the target's real images (paper section 4.4)."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from touchstone_contracts.adaptation import LinearProbe
from touchstone_contracts.identity import derive_seed
from touchstone_runtime.randomness import rng_for

from touchstone_trainer.schedules import warmup_cosine

BETAS = (0.9, 0.95)
"""The same as in adaptation: the paper states none of its own for the probe."""
LONGEST_WARMUP = 0.25
"""Of all updates. Changes nothing at the paper's sizes; with a few hundred images 200 updates may be the whole run."""


def fit_linear_probe(
    features: torch.Tensor, class_ids: np.ndarray, classes: int, settings: LinearProbe, seed: int
) -> nn.Linear:
    """Features L2-normalised (images, dimension). The learning rate follows one correct warm-up and cosine."""
    probe = _fresh_layer(features, classes, seed)
    labels = torch.from_numpy(class_ids.astype(np.int64)).to(features.device)
    optimizer = torch.optim.AdamW(
        probe.parameters(), lr=settings.learning_rate, betas=BETAS, weight_decay=settings.weight_decay, fused=True
    )
    batches = -(-len(labels) // settings.batch_size)
    updates = settings.epochs * batches
    fractions = iter(warmup_cosine(updates, min(settings.warmup_updates, int(LONGEST_WARMUP * updates))))
    for epoch in range(settings.epochs):
        order = rng_for(seed, "linear probe order", epoch).permutation(len(labels))
        for start in range(0, len(order), settings.batch_size):
            batch = torch.from_numpy(order[start : start + settings.batch_size]).to(features.device)
            optimizer.param_groups[0]["lr"] = settings.learning_rate * next(fractions)
            optimizer.zero_grad()
            loss = functional.cross_entropy(probe(features[batch]), labels[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(probe.parameters(), settings.gradient_clip)
            optimizer.step()
    return probe


def _fresh_layer(features: torch.Tensor, classes: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "linear probe weights"))
        return nn.Linear(features.shape[1], classes).to(features.device)
