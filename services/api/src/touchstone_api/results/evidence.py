"""What the judge needs, read from the predictions of finished evaluations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import Comparison, ExperimentSpec
from touchstone_contracts.steps import EncoderEvaluated
from touchstone_contracts.values import Blob, StepId
from touchstone_contracts.views import ResultRow, Results

from touchstone_api.experiments.dag import Cell, Plan
from touchstone_api.results.collect import cells_of, exhausted
from touchstone_api.results.finished import FinishedSteps
from touchstone_api.results.problems import NoComparison, NotFinished
from touchstone_api.verdict.curves import Curve
from touchstone_api.verdict.judge import Evidence


@dataclass(frozen=True)
class Finished:
    """An experiment's finished evaluations."""

    spec: ExperimentSpec
    plan: Plan
    evaluations: Mapping[StepId, EncoderEvaluated]
    steps: FinishedSteps

    def missing(self, target: str, arm: str) -> int:
        return sum(step not in self.evaluations for step in cells_of(self.plan, target, arm).values())

    def reached(self, target: str, arm: str) -> dict[Cell, EncoderEvaluated]:
        """The arm's evaluations at sizes it reached, in the plan's order: by size, then by seed."""
        found = {cell: self.evaluations[step] for cell, step in cells_of(self.plan, target, arm).items()}
        return {cell: result for cell, result in found.items() if not exhausted(result)}


def require_comparison(finished: Finished) -> Comparison:
    """Raises NoComparison, or NotFinished until both arms have all their evaluations at every target."""
    comparison = finished.spec.primary
    if comparison is None:
        raise NoComparison("a verdict needs two arms that train")
    pairs = [(target, arm) for target in finished.spec.targets for arm in (comparison.a, comparison.b)]
    missing = sum(finished.missing(*pair) for pair in pairs)
    if missing:
        raise NotFinished(f"{missing} evaluations of {comparison.a} and {comparison.b} are still to come")
    return comparison


def gather_evidence(finished: Finished, results: Results) -> Evidence:
    """Raises as `require_comparison`, and MissingObject when predictions were lost from the object store."""
    comparison, spec = require_comparison(finished), finished.spec
    unfinished = [
        (target, arm.name) for target in spec.targets for arm in spec.arms if finished.missing(target, arm.name)
    ]
    curves: dict[tuple[str, str, str], Curve] = {}
    for target in spec.targets:
        for arm in spec.arms:
            if (target, arm.name) not in unfinished:
                curves |= _curves(finished, target, arm.name)
    return Evidence(
        experiment=results.experiment,
        comparison=comparison,
        targets=spec.targets,
        metrics=spec.evaluation.metrics,
        sizes=tuple(sorted(spec.sizes)),
        arms=tuple(arm.name for arm in spec.training_arms),
        baseline=next((arm.name for arm in spec.arms if arm.kind == "none"), None),
        curves=curves,
        results_digest=results.digest,
        warnings=tuple(_facts(spec, comparison, results, unfinished)),
    )


def _curves(finished: Finished, target: str, arm: str) -> dict[tuple[str, str, str], Curve]:
    reached = finished.reached(target, arm)
    if not reached:
        return {}
    sizes = tuple(sorted({cell.size for cell in reached}))
    seeds = sorted({cell.seed for cell in reached})
    by_place = {(cell.size, cell.seed): result for cell, result in reached.items()}
    ordered = [by_place[size, seed] for size in sizes for seed in seeds]
    curves: dict[tuple[str, str, str], Curve] = {}
    for metric in finished.spec.evaluation.metrics:
        correct = _correct(finished.steps, ordered, metric)
        curves[target, metric, arm] = Curve(sizes, correct.reshape(len(sizes), len(seeds), -1))
    return curves


def _correct(steps: FinishedSteps, results: Sequence[EncoderEvaluated], metric: Metric) -> npt.NDArray[np.bool_]:
    """(results, test images)"""
    predicted = steps.arrays(result.predictions[metric].classes for result in results)
    labels = steps.arrays([_the_labels(results)])[0]
    correct: npt.NDArray[np.bool_] = np.stack(predicted) == labels
    return correct


def _the_labels(results: Sequence[EncoderEvaluated]) -> Blob:
    """Of one target all evaluations must have seen the same test images, else pairing them would be wrong."""
    found = {result.labels.digest: result.labels for result in results if result.labels is not None}
    if len(found) != 1:
        raise ValueError(f"evaluations of one target have {len(found)} different sets of test labels")
    return next(iter(found.values()))


def _facts(
    spec: ExperimentSpec, comparison: Comparison, results: Results, unfinished: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """What a reader should know before believing the verdict."""
    arms = (comparison.a, comparison.b)
    for entry in results.exhausted:
        if entry.arm in arms:
            yield f"{entry.target}: {entry.arm} has {entry.available} images, too few for size {entry.size}."
    for counts in results.counts:
        empty = len(counts.counts.classes_without_images)
        if counts.arm in arms and empty:
            yield f"{counts.target}: {counts.arm} has no images for {empty} classes."
    yield from _learning_rates(comparison, results)
    yield from _updates(comparison, results)
    if spec.curation.leak_cosine is None:
        yield "The check for test images among the training images was turned off."
    if unfinished:
        names = ", ".join(f"{arm} at {target}" for target, arm in unfinished)
        yield f"Not finished and therefore left out of the baseline check: {names}."


def _learning_rates(comparison: Comparison, results: Results) -> Iterator[str]:
    """Each arm chooses on validation from the same grid; a difference may come from the choice."""
    for place, rates in _differing(comparison, results, lambda row: row.learning_rate):
        choices = ", ".join(f"{arm} {rate:g}" for arm, rate in sorted(rates.items()))
        yield f"{place}: the arms chose different learning rates ({choices})."


def _updates(comparison: Comparison, results: Results) -> Iterator[str]:
    """Equal sizes in equal batches give equally many updates; where they do not, more training may be the reason."""
    for place, updates in _differing(comparison, results, lambda row: row.updates):
        counts = ", ".join(f"{arm} {count:g}" for arm, count in sorted(updates.items()))
        yield f"{place}: the arms were trained with different numbers of updates ({counts})."


def _differing(
    comparison: Comparison, results: Results, fact: Callable[[ResultRow], float | None]
) -> Iterator[tuple[str, dict[str, float]]]:
    """(place, fact by arm) wherever the compared arms differ in a fact that is known of both."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for row in results.rows:
        value = fact(row)
        if row.arm in (comparison.a, comparison.b) and value is not None:
            found.setdefault((row.target, row.size), {})[row.arm] = value
    for (target, size), values in sorted(found.items()):
        if len(set(values.values())) > 1:
            yield f"{target}, size {size}", values
