"""Probes fitted on features that lie on the device."""

from collections.abc import Iterator

import numpy as np
import torch
from gpu.findings import CPU, Finding, Setting, close, same_bytes
from support.probe_problems import Problem, paper_shaped_problem
from touchstone_contracts.adaptation import LinearProbe
from touchstone_trainer.evaluation.linear_probe import fit_linear_probe
from touchstone_trainer.evaluation.multinomial import Objective, minimise
from touchstone_trainer.evaluation.regularisation_path import RegularisationPath, fit_path

OBJECTIVES = 2e-4
"""Relative: each device's path is promised to be within 1e-4 of the minimum."""
ACCURACIES = 1e-2
"""Relative: an image on the border between two classes may fall on either side."""
EXACT = 1e-6
"""Of objectives at the float64 minimum."""
PENALTY = 1e-2


def problem(setting: Setting) -> Problem:
    return paper_shaped_problem(6, 32, 120) if setting.small else paper_shaped_problem(images=1500)


def parity_and_bytes(setting: Setting) -> Iterator[Finding]:
    found = problem(setting)
    yield from _linear_probe(found, setting.device)
    yield from _path(found, setting)
    yield from _multinomial(found, setting.device)


def _linear_probe(given: Problem, device: torch.device) -> Iterator[Finding]:
    """Computed on the CPU wherever the features are: bit for bit the same."""
    settings = LinearProbe(epochs=3, batch_size=64)
    heads = []
    for on in (CPU, device):
        features = given.train.tensors[0].to(on)
        layer = fit_linear_probe(features, given.train.labels, given.classes, settings, seed=0)
        assert layer.weight.device.type == on.type
        heads.append(layer.weight.detach().cpu().numpy())
    yield same_bytes("linear probe, CPU and device", heads)


def _path(given: Problem, setting: Setting) -> Iterator[Finding]:
    values = np.geomspace(1e-6, 1e6, 13 if setting.small else 49).tolist()
    wanted, found, again = (_fitted(given, device, values) for device in (CPU, setting.device, setting.device))
    yield close("regularisation path, objectives", found.objectives, wanted.objectives, OBJECTIVES)
    yield close("regularisation path, accuracies", _accuracies(given, found), _accuracies(given, wanted), ACCURACIES)
    yield same_bytes("regularisation path twice", [found.objectives, again.objectives])


def _fitted(given: Problem, device: torch.device, values: list[float]) -> RegularisationPath:
    features, labels = (tensor.to(device) for tensor in given.train.tensors)
    return fit_path(features, labels, given.classes, values)


def _accuracies(given: Problem, path: RegularisationPath) -> np.ndarray:
    features, labels = (tensor.to(path.mean.device) for tensor in given.test.tensors)
    return path.accuracies(features, labels)


def _multinomial(given: Problem, device: torch.device) -> Iterator[Finding]:
    minima = []
    for on in (CPU, device, device):
        features, labels = (tensor.to(on) for tensor in given.train.tensors)
        objective = Objective(features.double(), labels, given.classes)
        start = torch.zeros(objective.shape, dtype=torch.float64, device=on)
        minima.append(minimise(objective, start, PENALTY, 1e-8).point)
    wanted, found, again = minima
    yield close("multinomial in float64, objective", np.array(found.value), np.array(wanted.value), EXACT)
    yield same_bytes("multinomial twice", [point.parameters.cpu().numpy() for point in (found, again)])
