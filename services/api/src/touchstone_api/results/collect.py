"""From a plan and the finished steps to the table of results: a row per (target, arm, size, seed, metric, test set)."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.identity import identity
from touchstone_contracts.layout import Cell
from touchstone_contracts.steps import EncoderEvaluated, Predictions
from touchstone_contracts.values import StepId
from touchstone_contracts.views import ArmCounts, Exhausted, ResultRow, Results, SummaryRow
from touchstone_planning.dag import Plan

from touchstone_api.results.finished import FinishedSteps

Evaluations = Mapping[StepId, EncoderEvaluated]


def collect(
    experiment: str, plan: Plan, metrics: tuple[Metric, ...], finished: FinishedSteps, done: Collection[StepId]
) -> Results:
    """What is known so far; `done`: steps known to have succeeded. The same finished steps give the same bytes."""
    evaluations = finished.evaluations(step for step in plan.evaluations.values() if step in done)
    rows = sorted(_rows(plan, metrics, evaluations, finished.test_images), key=_order)
    counts = tuple(
        ArmCounts(target=target, arm=arm, counts=finished.curated(step).counts)
        for (target, arm), step in sorted(plan.curations.items())
        if step in done
    )
    return Results(
        experiment=experiment,
        digest=identity(rows),
        complete=set(plan.evaluations.values()) <= set(evaluations),
        rows=tuple(rows),
        summary=tuple(summarise(rows)),
        exhausted=tuple(_exhausted(plan, evaluations)),
        counts=counts,
    )


def _rows(
    plan: Plan, metrics: tuple[Metric, ...], evaluations: Evaluations, test_images: Callable[[StepId], int]
) -> Iterator[ResultRow]:
    for cell, step in plan.evaluations.items():
        result = evaluations.get(step)
        if result is None:
            continue
        for test_set, tested in result.tests.items():
            images = test_images(plan.tests[cell.target, test_set])
            for metric in metrics:
                if metric in tested.predictions:
                    yield _row(cell, result, metric, tested.predictions[metric], test_set, images)


def _row(
    cell: Cell, result: EncoderEvaluated, metric: Metric, measured: Predictions, test_set: str, images: int
) -> ResultRow:
    return ResultRow(
        target=cell.target,
        arm=cell.arm,
        size=cell.size,
        seed=cell.seed,
        metric=metric,
        value=measured.accuracy,
        learning_rate=result.learning_rate,
        peak_lr_fraction=result.peak_lr_fraction,
        updates=result.updates,
        validation=result.validation_accuracy,
        test_set=test_set,
        test_images=images,
        macro=measured.macro_accuracy,
        top5=measured.top5_accuracy,
        calibration_error=measured.calibration_error,
    )


def _order(row: ResultRow) -> tuple[str, str, int, int, str, bool, str]:
    """The main test set comes first."""
    return row.target, row.arm, row.size, row.seed, row.metric, row.test_set != MAIN_TEST_SET, row.test_set


def summarise(rows: Iterable[ResultRow]) -> Iterator[SummaryRow]:
    """Rows in order; sample standard deviation over seeds, None for one seed."""
    groups: dict[tuple[str, str, int, Metric, str], list[float]] = defaultdict(list)
    for row in rows:
        groups[row.target, row.arm, row.size, row.metric, row.test_set].append(row.value)
    for (target, arm, size, metric, test_set), values in groups.items():
        yield SummaryRow(
            target=target,
            arm=arm,
            size=size,
            metric=metric,
            test_set=test_set,
            mean=float(np.mean(values)),
            std=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            seeds=len(values),
        )


def _exhausted(plan: Plan, evaluations: Evaluations) -> Iterator[Exhausted]:
    """Once per (target, arm, size): a pool is as large whatever the seed."""
    found: dict[tuple[str, str, int], int] = {}
    for cell, step in plan.evaluations.items():
        result = evaluations.get(step)
        if result is not None and exhausted(result):
            found[cell.target, cell.arm, cell.size] = result.available or 0
    for (target, arm, size), available in sorted(found.items()):
        yield Exhausted(target=target, arm=arm, size=size, available=available)


def exhausted(result: EncoderEvaluated) -> bool:
    """The pool held fewer images than the size asks for, so nothing was trained."""
    return not result.predictions


def cells_of(plan: Plan, target: str, arm: str) -> dict[Cell, StepId]:
    return {cell: step for cell, step in plan.evaluations.items() if (cell.target, cell.arm) == (target, arm)}
