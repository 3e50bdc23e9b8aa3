"""One linear probe (paper section 4.4) against the loop one would write: nn.Linear, DataLoader, AdamW, autograd."""

import math
from itertools import count

import numpy as np
import torch
from support.duels import Duel
from support.probe_problems import Problem, Split, miniverse_problem
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from touchstone_contracts.adaptation import LinearProbe
from touchstone_trainer.evaluation.linear_probe import fit_linear_probe

NAME = "probe_single"
FLOOR = 20
SETTINGS = LinearProbe()
WORSE_LOSS = 1.01
"""Of the peer's training loss: twice what seeds differ by."""
WORSE_ACCURACY = 0.02
"""Below the peer's test accuracy: what seeds differ by on some hundred images."""


def prepare() -> Duel[nn.Linear, nn.Linear]:
    problem = miniverse_problem("broad")
    fitting = Split(
        np.concatenate([problem.train.features, problem.validation.features]),
        np.concatenate([problem.train.labels, problem.validation.labels]),
    )
    features, labels = fitting.tensors
    seeds, peer_seeds = count(), count()
    _plain_loop(features, labels, problem.classes, 1, next(peer_seeds))  # the first backward pass loads the engine
    return Duel(
        ours=lambda: fit_linear_probe(features, fitting.labels, problem.classes, SETTINGS, next(seeds)),
        peer=lambda: _plain_loop(features, labels, problem.classes, SETTINGS.epochs, next(peer_seeds)),
        quality=lambda ours, peer: _as_good(problem, fitting, ours, peer),
        repetitions=7,
    )


def _plain_loop(features: torch.Tensor, labels: torch.Tensor, classes: int, epochs: int, seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    layer = nn.Linear(features.shape[1], classes)
    loader = DataLoader(TensorDataset(features, labels), batch_size=SETTINGS.batch_size, shuffle=True)
    optimizer = torch.optim.AdamW(
        layer.parameters(), lr=SETTINGS.learning_rate, betas=(0.9, 0.95), weight_decay=SETTINGS.weight_decay
    )
    updates = epochs * len(loader)
    warmup = min(SETTINGS.warmup_updates, updates // 4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda update: (
            (update + 1) / warmup
            if update < warmup
            else 0.5 * (1 + math.cos(math.pi * (update - warmup) / (updates - warmup)))
        ),
    )
    for _ in range(epochs):
        for batch, truth in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(batch), truth).backward()
            nn.utils.clip_grad_norm_(layer.parameters(), SETTINGS.gradient_clip)
            optimizer.step()
            schedule.step()
    return layer


@torch.inference_mode()
def _as_good(problem: Problem, fitting: Split, ours: nn.Linear, peer: nn.Linear) -> bool:
    features, labels = fitting.tensors
    tested, truth = problem.test.tensors
    losses = [float(nn.functional.cross_entropy(layer(features), labels)) for layer in (ours, peer)]
    right = [float((layer(tested).argmax(dim=1) == truth).double().mean()) for layer in (ours, peer)]
    return losses[0] <= WORSE_LOSS * losses[1] and right[0] >= right[1] - WORSE_ACCURACY
