"""The duel over a whole regularisation path: ours against scikit-learn's LogisticRegression once per value."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from support.duels import Duel
from support.probe_problems import Problem, Split
from torch.nn.functional import cross_entropy
from touchstone_contracts.adaptation import RegularisedProbe
from touchstone_trainer.evaluation.regularisation_path import RegularisationPath, fit_path, select_value

GRID = RegularisedProbe()
VALUES = np.geomspace(GRID.smallest, GRID.largest, GRID.values)
OBJECTIVE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class PeerPath:
    models: list[LogisticRegression]


def optimum_tolerance(value: float) -> float:
    """scikit-learn's default, and where it stops early there, powers of ten down to where it is at its optimum.

    At its default it reports convergence with objectives up to nine times the optimum where C is large."""
    if value <= 10:
        return 1e-4
    return 1e-6 if value <= 1e4 else 1e-8


def default_tolerance(value: float) -> float:
    return 1e-4


def path_duel(
    problem: Problem, tolerance: Callable[[float], float], repetitions: int
) -> Duel[RegularisationPath, PeerPath]:
    """`tolerance`: of the peer, by C."""
    features = problem.train.features.astype(np.float64)  # in float32 scikit-learn does not reach its optimum

    def ours() -> RegularisationPath:
        return fit_path(*problem.train.tensors, problem.classes, VALUES.tolist())

    def peer() -> PeerPath:
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        return PeerPath([fit(value) for value in VALUES])

    def fit(value: float) -> LogisticRegression:
        model = LogisticRegression(C=value, tol=tolerance(value), max_iter=100_000)
        return model.fit(features, problem.train.labels)

    return Duel(ours, peer, lambda path, models: as_good(problem, path, models), repetitions)


def as_good(problem: Problem, path: RegularisationPath, peer: PeerPath) -> bool:
    """Every objective at most 1e-4 above the peer's, and the test accuracy of the value chosen at least equal."""
    objectives = [
        objective(problem.train, model.coef_, model.intercept_, value)
        for model, value in zip(peer.models, VALUES, strict=True)
    ]
    chosen = select_value(path.accuracies(*problem.validation.tensors))
    validated = [model.score(problem.validation.features, problem.validation.labels) for model in peer.models]
    accuracy = peer.models[select_value(np.array(validated))].score(problem.test.features, problem.test.labels)
    as_low = bool((path.objectives <= np.array(objectives) * (1 + OBJECTIVE_TOLERANCE)).all())
    return as_low and path.accuracies(*problem.test.tensors)[chosen] >= accuracy


def objective(split: Split, weights: np.ndarray, biases: np.ndarray, value: float) -> float:
    """Sum of cross-entropies + |weights|^2 / (2 C), float64."""
    logits = torch.from_numpy(split.features.astype(np.float64) @ weights.T + biases)
    losses = cross_entropy(logits, torch.from_numpy(split.labels), reduction="sum")
    return float(losses) + float((weights**2).sum()) / (2 * value)
