"""Targets drawn from a population, and how often intervals for that population and for a new target are right."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from support.verdict_simulation import World
from touchstone_verdict.intervals import Estimate, components
from touchstone_verdict.sampled_targets import sampled_targets


@dataclass(frozen=True)
class Population:
    """Tasks whose true differences are normal around `difference` with standard deviation `between`."""

    targets: int
    between: float
    difference: float = 0.03
    seeds: int = 3
    images: int = 300
    seed_sd: float = 0.1

    def estimates(self, rng: np.random.Generator) -> list[Estimate]:
        """One experiment on targets drawn anew."""
        truths = rng.normal(self.difference, self.between, self.targets)
        worlds = (World(self.seeds, self.images, self.seed_sd, float(truth)) for truth in truths)
        return [components(*world.experiment(rng)).estimate() for world in worlds]


@dataclass(frozen=True)
class Coverage:
    """Shares of intervals that contain what they are about, and mean widths in points."""

    mean: float
    new_target: float
    fixed: float
    """The interval for the targets measured, taken, as one must not, for one about targets like them."""
    mean_width: float
    new_target_width: float


def coverage_of_targets(population: Population, runs: int, confidence: float = 0.95) -> Coverage:
    """Always the same experiments."""
    rng = np.random.default_rng([population.targets, round(population.between * 1000), population.seeds])
    found = np.array(list(_outcomes(population, runs, confidence, rng)))
    return Coverage(*found.mean(axis=0))


def _outcomes(
    population: Population, runs: int, confidence: float, rng: np.random.Generator
) -> Iterator[tuple[float, float, float, float, float]]:
    for _ in range(runs):
        estimates = population.estimates(rng)
        sample = sampled_targets(estimates)
        assert sample is not None
        new = float(rng.normal(population.difference, population.between))
        mean, prediction = sample.interval(confidence), sample.prediction(confidence, rng)
        fixed = Estimate.pooled(estimates).interval(confidence)
        yield (
            mean[0] <= population.difference <= mean[1],
            prediction[0] <= new <= prediction[1],
            fixed[0] <= population.difference <= fixed[1],
            100 * (mean[1] - mean[0]),
            100 * (prediction[1] - prediction[0]),
        )


def targets_table(runs: int = 1000) -> tuple[list[str], list[list[str]]]:
    """Widths in points."""
    rows = []
    for targets, between in itertools.product((3, 5, 10), (0.0, 0.02, 0.05)):
        found = coverage_of_targets(Population(targets, between), runs)
        shares = [f"{share:.3f}".removeprefix("0") for share in (found.fixed, found.mean, found.new_target)]
        widths = [f"{found.mean_width:.1f}", f"{found.new_target_width:.1f}"]
        rows.append([str(targets), f"{100 * between:g}", *shares, *widths])
    headings = ["targets", "sd between targets, points", "for these targets", "for the mean", "for a new target"]
    return [*headings, "width, mean", "width, new target"], rows
