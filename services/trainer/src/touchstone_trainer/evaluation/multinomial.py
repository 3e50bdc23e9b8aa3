"""L2-regularised multinomial logistic regression: the objective, its derivatives and one exact minimisation.

sum over images of the cross-entropy + (lambda / 2) |weights|^2, the bias not regularised: scikit-learn's
LogisticRegression divided by C = 1 / lambda. In the precision of the features: losses and residuals are computed from
margins to the true class, which keeps their relative precision when an image is classified with certainty.
"""

from dataclasses import dataclass

import torch


class NotConverged(ArithmeticError):
    """Newton steps stopped gaining before the minimum: rounding hides it."""


Parameters = torch.Tensor
"""(components + 1, classes); the last row is the bias. Rows sum to zero over classes, as they do at the minimum."""

MAX_NEWTON_STEPS = 30
MAX_PRODUCTS = 500
"""Hessian products per Newton step."""
FORCING = 0.02
"""A Newton step is refined while a product still gains this share of what the step has gained."""
SUFFICIENT_DECREASE = 0.1
SHORTEST_STEP = 1e-4
ROUNDING = 1e-6
"""Relative error of an objective in float32, with room."""
FLAT = 1e-12
"""Added to curvatures: directions in which the loss is flat, such as an unused component, stay finite."""


@dataclass(frozen=True)
class Point:
    """The objective at some parameters. `residuals`: probabilities minus one-hot labels, (images, classes)."""

    parameters: Parameters
    value: float
    shrinkage: float
    """The share of `value` that regularises: lambda / 2 |weights|^2. Gaps are measured against it, as the loss of
    weights that are held near zero says little about them."""
    gradient: Parameters
    residuals: torch.Tensor


@dataclass(frozen=True)
class Minimum:
    point: Point
    curvature: Parameters
    """The loss's second derivatives, without lambda, near the minimum."""
    gap: float
    """Estimated distance of the objective from its minimum."""


class Objective:
    """Of `features` (images, components), best in principal axes: there the Hessian is nearly diagonal."""

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
        self.features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        self.transposed = self.features.T.contiguous()
        self.squares = self.transposed.square()
        self.labels = labels[:, None]
        self.penalised = torch.ones_like(self.transposed[:, :1])
        self.penalised[-1] = 0
        self.shape = (self.features.shape[1], classes)
        self.passes = 0
        """Products with the features or their transpose, in pairs: the cost of one gradient."""

    def at(self, parameters: Parameters, penalty: float) -> Point:
        self.passes += 1
        losses, residuals = _losses(self.features @ parameters, self.labels)
        shrunk = parameters * self.penalised
        shrinkage = 0.5 * penalty * float((shrunk * parameters).sum())
        gradient = (self.transposed @ residuals).add_(shrunk, alpha=penalty)
        return Point(parameters, float(losses.sum(dtype=torch.float64)) + shrinkage, shrinkage, gradient, residuals)

    def curvature(self, residuals: torch.Tensor) -> Parameters:
        """The diagonal of the loss's Hessian."""
        probabilities = residuals.abs()
        return (self.squares @ probabilities.mul_(1 - probabilities)).add_(FLAT)

    def hessian_product(self, others: torch.Tensor, direction: Parameters, penalty: float) -> Parameters:
        """`others`: probabilities of the classes that are wrong, 0 at the true one."""
        self.passes += 1
        margins = self.features @ direction
        margins.sub_(margins.gather(1, self.labels))
        weighted = margins.mul_(others)
        weighted.addcmul_(others, weighted.sum(dim=1, keepdim=True), value=-1)
        weighted.scatter_(1, self.labels, -weighted.sum(dim=1, keepdim=True))
        return (self.transposed @ weighted).addcmul_(direction, self.penalised, value=penalty)


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropies (images, 1) and residuals (images, classes); overwrites `logits`."""
    margins = logits.sub_(logits.gather(1, labels))
    largest = margins.amax(dim=1, keepdim=True)
    odds = margins.sub_(largest).exp_().scatter_(1, labels, 0.0)
    wrong = odds.sum(dim=1, keepdim=True)
    excess = wrong + torch.expm1(-largest)  # the sum of all odds less 1, without cancellation
    residuals = odds.div_(1 + excess).scatter_(1, labels, -wrong / (1 + excess))
    return largest + torch.log1p(excess), residuals


def minimise(
    objective: Objective, start: Parameters, penalty: float, tolerance: float, curvature: Parameters | None = None
) -> Minimum:
    """Newton's method with preconditioned conjugate gradients: the gap to the minimum ends below tolerance x shrinkage.

    `curvature` of a nearby minimum lets a start that is good enough pass after a single gradient. Raises
    NotConverged when MAX_NEWTON_STEPS do not suffice."""
    point = objective.at(_zero_sum(start), penalty)
    if curvature is not None:
        gap = _gap(point.gradient, curvature + penalty * objective.penalised)
        if gap <= tolerance * point.shrinkage:
            return Minimum(point, curvature, gap)
    for _ in range(MAX_NEWTON_STEPS):
        curvature = objective.curvature(point.residuals)
        step, gain, gap = _newton_step(objective, point, penalty, curvature, tolerance)
        point = _line_search(objective, point, penalty, step, gain)
        if gain <= tolerance * point.shrinkage:
            return Minimum(point, curvature, gap)
    raise NotConverged(f"no minimum after {MAX_NEWTON_STEPS} Newton steps at lambda {penalty:g}")


def _gap(gradient: Parameters, curvature: Parameters) -> float:
    """What a step along the preconditioned gradient would gain."""
    return 0.5 * float((gradient * _zero_sum(gradient / curvature)).sum())


def _newton_step(
    objective: Objective, point: Point, penalty: float, curvature: Parameters, tolerance: float
) -> tuple[Parameters, float, float]:
    """The step, what the quadratic model gains by it, and an estimate of what it still leaves."""
    others = point.residuals.scatter(1, objective.labels, 0.0)
    diagonal = curvature + penalty * objective.penalised
    step, left = torch.zeros_like(point.parameters), point.gradient.neg()
    direction = _zero_sum(left / diagonal)
    slope, gain, remaining = float((left * direction).sum()), 0.0, 0.0
    for product in range(1, MAX_PRODUCTS + 1):
        curved = objective.hessian_product(others, direction, penalty)
        length = slope / float((direction * curved).sum())
        step.add_(direction, alpha=length)
        left.sub_(curved, alpha=length)
        gained = 0.5 * length * slope
        gain += gained
        # Gains shrink slowly where many products were needed: as many again are assumed to follow.
        remaining = gained * product
        if remaining <= max(tolerance * point.shrinkage, FORCING * gain):
            break
        preconditioned = _zero_sum(left / diagonal)
        slope, previous = float((left * preconditioned).sum()), slope
        direction = preconditioned.add_(direction, alpha=slope / previous)
    return step, gain, remaining


def _line_search(objective: Objective, point: Point, penalty: float, step: Parameters, gain: float) -> Point:
    length = 1.0
    while True:
        moved = objective.at(point.parameters + length * step, penalty)
        if moved.value <= (1 + ROUNDING) * point.value - SUFFICIENT_DECREASE * length * gain or length < SHORTEST_STEP:
            return moved
        length /= 2


def _zero_sum(parameters: Parameters) -> Parameters:
    """Adding a constant to all classes changes no probability; it would only make the problem ill-conditioned."""
    return parameters - parameters.mean(dim=1, keepdim=True)
