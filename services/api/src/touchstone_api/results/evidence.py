"""What the judge needs, read from the predictions of finished evaluations."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import Comparison, ExperimentSpec
from touchstone_contracts.steps import Tested
from touchstone_contracts.values import Blob
from touchstone_contracts.views import Results
from touchstone_runtime.finished import FinishedSteps
from touchstone_verdict.curves import Curve
from touchstone_verdict.judge import Evidence

from touchstone_api.results.evaluations import Finished
from touchstone_api.results.learning_rates import rate_choices
from touchstone_api.results.problems import NoComparison, NotFinished

FEWEST_SEEDS = 2


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


def complete_seeds(finished: Finished, comparison: Comparison) -> Finished:
    """Only the seeds of which both arms have every evaluation; `finished` itself where that is all of them.

    Raises NotFinished with fewer than two."""
    arms = (comparison.a, comparison.b)
    missing = {
        cell.seed
        for cell, step in finished.plan.evaluations.items()
        if cell.arm in arms and step not in finished.evaluations
    }
    complete = set(finished.spec.seeds) - missing
    if not missing:
        return finished
    if len(complete) < FEWEST_SEEDS:
        raise NotFinished(f"{len(complete)} of {len(finished.spec.seeds)} seeds are in; an interval needs two")
    return finished.of_seeds(complete)


def gather_evidence(finished: Finished, results: Results) -> Evidence:
    """Raises as `require_comparison`, and MissingObject when predictions were lost from the object store."""
    planned = finished
    if (primary := finished.spec.primary) is not None and primary.stopping == "anytime":
        finished = complete_seeds(finished, primary)
    comparison, spec = require_comparison(finished), finished.spec
    unfinished = [
        (target, arm.name) for target in spec.targets for arm in spec.arms if finished.missing(target, arm.name)
    ]
    return Evidence(
        experiment=results.experiment,
        comparison=comparison,
        targets=spec.targets,
        metrics=spec.evaluation.metrics,
        sizes=tuple(sorted(spec.sizes)),
        arms=tuple(arm.name for arm in spec.training_arms),
        baseline=spec.untouched,
        curves=gather_curves(finished, comparison.test_set),
        elsewhere={
            name: gather_curves(finished, name) for name in finished.plan.test_sets if name != comparison.test_set
        },
        results_digest=results.digest,
        labels={
            target: _labels(finished, target, comparison)
            for target in spec.targets
            if all(finished.reached(target, arm) for arm in (comparison.a, comparison.b))
        },
        choices=tuple(rate_choices(finished, comparison)),
        seeds_planned=None if finished is planned else len(spec.seeds),
        warnings=tuple(_facts(spec, comparison, results, unfinished)),
    )


def gather_curves(finished: Finished, test_set: str) -> dict[tuple[str, str, str], Curve]:
    """Of every arm that has all its evaluations at a target with such a test set. Raises MissingObject as
    `gather_evidence`."""
    curves: dict[tuple[str, str, str], Curve] = {}
    for target in finished.spec.targets:
        for arm in finished.spec.arms:
            if (target, test_set) in finished.plan.tests and not finished.missing(target, arm.name):
                curves |= _curves(finished, target, arm.name, test_set)
    return curves


def _curves(finished: Finished, target: str, arm: str, test_set: str) -> dict[tuple[str, str, str], Curve]:
    reached = finished.reached(target, arm)
    if not reached:
        return {}
    sizes = tuple(sorted({cell.size for cell in reached}))
    seeds = sorted({cell.seed for cell in reached})
    by_place = {(cell.size, cell.seed): result.tests[test_set] for cell, result in reached.items()}
    ordered = [by_place[size, seed] for size in sizes for seed in seeds]
    curves: dict[tuple[str, str, str], Curve] = {}
    for metric in finished.spec.evaluation.metrics:
        correct = _correct(finished.steps, ordered, metric)
        curves[target, metric, arm] = Curve(sizes, correct.reshape(len(sizes), len(seeds), -1))
    return curves


def _correct(steps: FinishedSteps, results: Sequence[Tested], metric: Metric) -> npt.NDArray[np.bool_]:
    """(results, test images)"""
    predicted = steps.arrays(result.predictions[metric].classes for result in results)
    labels = steps.arrays([_the_labels(results)])[0]
    correct: npt.NDArray[np.bool_] = np.stack(predicted) == labels
    return correct


def _labels(finished: Finished, target: str, comparison: Comparison) -> npt.NDArray[np.int32]:
    """(test images,)"""
    reached = finished.reached(target, comparison.a).values()
    blob = _the_labels([result.tests[comparison.test_set] for result in reached])
    return finished.steps.arrays([blob])[0]


def _the_labels(results: Sequence[Tested]) -> Blob:
    """Of one test set all evaluations must have seen the same test images, else pairing them would be wrong."""
    found = {result.labels.digest: result.labels for result in results if result.labels is not None}
    if len(found) != 1:
        raise ValueError(f"evaluations on one test set have {len(found)} different sets of test labels")
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
    yield from _updates(comparison, results)
    if spec.curation.leak_cosine is None:
        yield "The check for test images among the training images was turned off."
    if unfinished:
        names = ", ".join(f"{arm} at {target}" for target, arm in unfinished)
        yield f"Not finished and therefore left out of the baseline check: {names}."


def _updates(comparison: Comparison, results: Results) -> Iterator[str]:
    """Equal sizes in equal batches give equally many updates; where they do not, more training may be the reason."""
    found: dict[tuple[str, int], dict[str, int]] = {}
    for row in results.rows:
        if row.arm in (comparison.a, comparison.b) and row.updates is not None:
            found.setdefault((row.target, row.size), {})[row.arm] = row.updates
    for (target, size), updates in sorted(found.items()):
        if len(set(updates.values())) > 1:
            counts = ", ".join(f"{arm} {count}" for arm, count in sorted(updates.items()))
            yield f"{target}, size {size}: the arms were trained with different numbers of updates ({counts})."
