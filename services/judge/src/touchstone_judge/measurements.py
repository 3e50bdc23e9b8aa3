"""What is judged, read from the results of finished steps. Everything here raises MissingObject for what was lost."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.layout import PlanLayout
from touchstone_contracts.steps import JudgeExperiment
from touchstone_contracts.steps import Tested as TestResult
from touchstone_contracts.values import Blob
from touchstone_contracts.views import Results
from touchstone_runtime.finished import READERS, FinishedSteps, cluster_names, read_all
from touchstone_runtime.phases import phase
from touchstone_runtime.serving import ProgressFunction
from touchstone_verdict.clusters import Clusters, numbered
from touchstone_verdict.curves import Curve
from touchstone_verdict.failed_runs import Validation
from touchstone_verdict.results import Evaluations, collect

Labels = npt.NDArray[np.int32]
"""(test images,): true class ids."""


@dataclass(frozen=True)
class Tests:
    """How every arm did on some test sets."""

    labels: Mapping[tuple[str, str], Labels]
    """By (target, test set)."""
    curves: Mapping[str, dict[tuple[str, str, str], Curve]]
    """By test set."""
    validation: Mapping[tuple[str, str], Validation]
    """(target, arm) -> accuracies by which epochs were chosen, where every run has one."""


@phase("load")
def read_evaluations(layout: PlanLayout, steps: FinishedSteps) -> Evaluations:
    return Evaluations(layout, read_all(steps.evaluated, (entry.step for entry in layout.cells)))


@phase("load")
def read_results(request: JudgeExperiment, evaluations: Evaluations, steps: FinishedSteps) -> Results:
    test_images = read_all(steps.test_images, (entry.step for entry in request.layout.tests))
    curated = read_all(steps.curated, (entry.step for entry in request.layout.pools))
    return collect(evaluations, request.metrics, test_images, {step: pool.counts for step, pool in curated.items()})


@phase("load")
def read_upstream_images(request: JudgeExperiment, steps: FinishedSteps) -> dict[str, tuple[int, ...]]:
    """By target, the kept images of each class of the arm that says how many there are upstream."""
    pools = {entry.target: entry.step for entry in request.layout.pools if entry.arm == request.upstream_arm}
    curated = read_all(steps.curated, pools.values())
    return {target: curated[step].kept_by_class for target, step in pools.items()}


@dataclass(frozen=True)
class Tested:
    """One arm on one test set of a target."""

    target: str
    test_set: str
    arm: str
    sizes: tuple[int, ...]
    """Those it reached."""
    results: tuple[TestResult, ...]
    """By size and then by seed."""


@phase("load")
def read_tests(
    request: JudgeExperiment, evaluations: Evaluations, steps: FinishedSteps, progress: ProgressFunction
) -> Tests:
    """On every test set in every metric; where only some seeds are judged, on what the comparison is of."""
    comparison, test_sets, metrics = request.comparison, request.layout.test_sets, request.metrics
    if request.first_seeds is not None and comparison is not None:
        test_sets, metrics = (comparison.test_set,), (comparison.metric,)
    tested = [entry for entry in _tested(evaluations) if entry.test_set in test_sets]
    tests = Tests(_read_labels(tested, steps), {test_set: {} for test_set in test_sets}, _validation(evaluations))
    clusters = _read_clusters(request.layout, test_sets, steps)
    done, total = count(1), len(metrics) * sum(len(entry.results) for entry in tested)
    for entry in tested:
        labels = tests.labels[entry.target, entry.test_set]
        for metric in metrics:
            correct = np.empty((len(entry.results), len(labels)), dtype=np.bool_)
            for row, right in enumerate(_correct(entry.results, metric, labels, steps)):
                correct[row] = right
                progress(next(done), total)
            correct_by_size = correct.reshape(len(entry.sizes), -1, len(labels))
            curve = Curve(entry.sizes, correct_by_size, clusters.get((entry.target, entry.test_set)))
            tests.curves[entry.test_set][entry.target, metric, entry.arm] = curve
    return tests


def _tested(evaluations: Evaluations) -> Iterator[Tested]:
    arms = dict.fromkeys((entry.cell.target, entry.cell.arm) for entry in evaluations.layout.cells)
    for target, arm in arms:
        reached = sorted(evaluations.reached(target, arm).items(), key=lambda item: (item[0].size, item[0].seed))
        sizes = tuple(dict.fromkeys(cell.size for cell, _ in reached))
        for split_target, test_set in evaluations.layout.splits:
            if split_target == target and reached:
                yield Tested(target, test_set, arm, sizes, tuple(result.tests[test_set] for _, result in reached))


def _validation(evaluations: Evaluations) -> dict[tuple[str, str], Validation]:
    found = {}
    for target, arm in dict.fromkeys((entry.cell.target, entry.cell.arm) for entry in evaluations.layout.cells):
        reached = sorted(evaluations.reached(target, arm).items(), key=lambda item: (item[0].size, item[0].seed))
        sizes = tuple(dict.fromkeys(cell.size for cell, _ in reached))
        accuracies = [result.validation_accuracy for _, result in reached]
        if accuracies and None not in accuracies:
            seeds = tuple(dict.fromkeys(cell.seed for cell, _ in reached))
            by_size = np.array(accuracies, dtype=np.float64).reshape(len(sizes), -1)
            found[target, arm] = Validation(sizes, seeds, by_size)
    return found


def _read_clusters(
    layout: PlanLayout, test_sets: Collection[str], steps: FinishedSteps
) -> dict[tuple[str, str], Clusters]:
    """By (target, test set), of those whose images were drawn together."""
    return {
        (entry.target, entry.test_set): numbered(cluster_names(entry.cluster, entry.step, steps))
        for entry in layout.tests
        if entry.cluster is not None and entry.test_set in test_sets
    }


def _read_labels(tested: Iterable[Tested], steps: FinishedSteps) -> dict[tuple[str, str], Labels]:
    """Raises ValueError where evaluations on one test set had different images, which cannot be paired."""
    blobs: dict[tuple[str, str], set[Blob]] = {}
    for entry in tested:
        found = blobs.setdefault((entry.target, entry.test_set), set())
        found.update(result.labels for result in entry.results if result.labels is not None)
    for tested_on, found in blobs.items():
        if len(found) != 1:
            raise ValueError(f"evaluations on {tested_on} have {len(found)} different sets of test labels")
    return dict(zip(blobs, steps.arrays(blob for found in blobs.values() for blob in found), strict=True))


def _correct(
    results: Iterable[TestResult], metric: Metric, labels: Labels, steps: FinishedSteps
) -> Iterator[npt.NDArray[np.bool_]]:
    """Of each result (test images,), read side by side."""

    def right(result: TestResult) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = steps.artifacts.get_array(result.predictions[metric].classes) == labels
        return found

    with ThreadPoolExecutor(READERS) as readers:
        yield from readers.map(right, results)
