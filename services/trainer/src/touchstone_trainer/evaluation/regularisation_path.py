"""Exact linear probes for a whole range of regularisation, and which of them validation chooses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from touchstone_trainer.evaluation.multinomial import Minimum, NotConverged, Objective, Parameters, minimise

RELATIVE_GAP = 1e-5
"""Tenfold below the 1e-4 that is promised: gaps are estimates."""
COARSE_STEP = 0.5
"""Decades of C between values that are solved from an extrapolation; those between start from an interpolation."""
RANK_TOLERANCE = 1e-10
"""Relative to the largest eigenvalue of the features' covariance, in float64."""


@dataclass(frozen=True)
class PathReport:
    passes: int
    """Gradients and Hessian products for all values together."""
    largest_gap: float
    """Estimated, relative to the objective."""


@dataclass(frozen=True)
class RegularisationPath:
    """One probe per value of C = 1 / lambda, in principal axes of the centred features."""

    values: tuple[float, ...]
    parameters: tuple[Parameters, ...]
    mean: torch.Tensor
    axes: torch.Tensor
    """(dimension, components)"""
    objectives: np.ndarray
    """Sum over images of the cross-entropy + |weights|^2 / (2 C)."""
    gradient_norms: np.ndarray
    report: PathReport

    def probe(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (classes, dimension) and biases (classes,) for plain features."""
        parameters = self.parameters[index]
        weights = self.axes @ parameters[:-1]
        return weights.T.contiguous(), parameters[-1] - self.mean @ weights

    def accuracies(self, features: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
        """Top-1 of every probe, (values,)."""
        components = (features.float() - self.mean) @ self.axes
        predicted = [(components @ one[:-1]).add_(one[-1]).argmax(dim=1) for one in self.parameters]
        return np.array([float((classes == labels).double().mean()) for classes in predicted])


def fit_path(features: torch.Tensor, labels: torch.Tensor, classes: int, values: Sequence[float]) -> RegularisationPath:
    """Features L2-normalised (images, dimension), int64 class ids (images,), increasing values of C.

    Every objective is within 1e-4 of its minimum, relative. Raises ValueError when the values do not increase,
    NotConverged when even float64 does not get there."""
    if any(second <= first for first, second in pairwise(values)):
        raise ValueError("the values of C must increase")
    mean, axes, components = _principal_axes(features)
    try:
        objective, solved = _solve(components.float(), labels, classes, values)
    except NotConverged:
        # Float32 is twice as fast and nearly always enough; features that hardly differ need the longer numbers.
        objective, solved = _solve(components, labels, classes, values)
    minima = [solved[index] for index in range(len(values))]
    return RegularisationPath(
        values=tuple(values),
        parameters=tuple(minimum.point.parameters.float() for minimum in minima),
        mean=mean.float(),
        axes=axes.float(),
        objectives=np.array([minimum.point.value for minimum in minima]),
        gradient_norms=np.array([float(minimum.point.gradient.norm()) for minimum in minima]),
        report=PathReport(objective.passes, max(minimum.gap / minimum.point.value for minimum in minima)),
    )


def _solve(
    components: torch.Tensor, labels: torch.Tensor, classes: int, values: Sequence[float]
) -> tuple[Objective, dict[int, Minimum]]:
    objective, logs = Objective(components, labels, classes), np.log(values)
    solved: dict[int, Minimum] = {}
    for index in solving_order(len(values), _stride(values)):
        start, curvature = _predict(objective, logs, solved, index)
        solved[index] = minimise(objective, start, 1 / values[index], RELATIVE_GAP, curvature)
    return objective, solved


def _stride(values: Sequence[float]) -> int:
    """How many values make a coarse step."""
    if len(values) < 2:
        return 1
    decades = np.log10(values[-1] / values[0]) / (len(values) - 1)
    return max(1, round(COARSE_STEP / decades))


def select_value(accuracies: np.ndarray) -> int:
    """The best on validation; of equal ones the strongest regularisation."""
    return int(accuracies.argmax())


def solving_order(count: int, stride: int) -> Iterator[int]:
    """Every index at `stride` and the last, then those halfway, then the rest."""
    coarse = [*range(0, count, stride), count - 1]
    halfway = range(stride // 2, count, stride)
    yield from dict.fromkeys([*coarse, *halfway, *range(count)])


def _principal_axes(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, axes (dimension, components), components (images, components), float64: no more of them than images."""
    exact = features.double()
    mean = exact.mean(dim=0)
    centred = exact - mean
    images, dimension = centred.shape
    small = images <= dimension
    squares, vectors = torch.linalg.eigh(centred @ centred.T if small else centred.T @ centred)
    kept = squares > RANK_TOLERANCE * squares[-1]
    axes = centred.T @ vectors[:, kept] / squares[kept].sqrt() if small else vectors[:, kept]
    return mean, axes, centred @ axes


def _predict(
    objective: Objective, logs: np.ndarray, solved: dict[int, Minimum], index: int
) -> tuple[Parameters, Parameters | None]:
    """A start from the values solved nearby: polynomials in log C of the weights' direction, log length and bias.

    Weights grow like C where regularisation is strong and like log C where it is weak; lengths apart follow both."""
    if not solved:
        return objective.features.new_zeros(objective.shape), None
    inside = min(solved) < index < max(solved)
    near = sorted(solved, key=lambda other: abs(logs[other] - logs[index]))[: 4 if inside else 3]
    shares = lagrange(logs[near], logs[index])
    known = [solved[other].point.parameters for other in near]
    lengths = torch.stack([parameters[:-1].norm() for parameters in known])
    start = sum(share * parameters for share, parameters in zip(shares / lengths.cpu().numpy(), known, strict=True))
    start[:-1] *= float(np.exp(shares @ lengths.log().cpu().numpy()))
    start[-1] = sum(share * parameters[-1] for share, parameters in zip(shares, known, strict=True))
    return start, solved[near[0]].curvature


def lagrange(points: np.ndarray, at: float) -> np.ndarray:
    """The shares of values at `points` in the polynomial through them, evaluated at `at`."""
    others = [np.delete(points, position) for position in range(len(points))]
    return np.array([np.prod((at - rest) / (point - rest)) for point, rest in zip(points, others, strict=True)])
