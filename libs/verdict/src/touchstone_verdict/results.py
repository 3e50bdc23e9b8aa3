"""The table of results, a row per (target, arm, size, seed, metric, test set), from finished evaluations."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.curation import CurationCounts
from touchstone_contracts.identity import identity
from touchstone_contracts.layout import Cell, PlanLayout
from touchstone_contracts.steps import EncoderEvaluated, Predictions
from touchstone_contracts.values import StepId
from touchstone_contracts.views import ArmCounts, Exhausted, ResultRow, Results, SummaryRow


@dataclass(frozen=True)
class Evaluations:
    """What was measured in an experiment, by cell."""

    layout: PlanLayout
    finished: Mapping[StepId, EncoderEvaluated]
    """By step; those still to come are left out."""

    def __iter__(self) -> Iterator[tuple[Cell, EncoderEvaluated]]:
        """In the layout's order."""
        for entry in self.layout.cells:
            if entry.step in self.finished:
                yield entry.cell, self.finished[entry.step]

    def missing(self, target: str, arm: str) -> int:
        """How many of the arm's evaluations at a target are still to come."""
        steps = (e.step for e in self.layout.cells if (e.cell.target, e.cell.arm) == (target, arm))
        return sum(step not in self.finished for step in steps)

    def reached(self, target: str, arm: str) -> dict[Cell, EncoderEvaluated]:
        """The arm's evaluations at sizes it reached, by size and then by seed as the layout has them."""
        return {
            cell: result for cell, result in self if (cell.target, cell.arm) == (target, arm) and not exhausted(result)
        }


def exhausted(result: EncoderEvaluated) -> bool:
    """The pool held fewer images than the size asks for, so nothing was trained."""
    return not result.predictions


def collect(
    evaluations: Evaluations,
    metrics: Iterable[Metric],
    test_images: Mapping[StepId, int],
    curated: Mapping[StepId, CurationCounts],
    experiment: str = "",
) -> Results:
    """What is known so far; the same evaluations give the same bytes.

    `test_images`: by the step of a split, needed wherever something was measured. `curated`: by the step of a pool, of
    those that are done."""
    layout = evaluations.layout
    rows = sorted(_rows(evaluations, tuple(metrics), test_images), key=_order)
    return Results(
        experiment=experiment,
        digest=identity(rows),
        complete=all(entry.step in evaluations.finished for entry in layout.cells),
        rows=tuple(rows),
        summary=tuple(summarise(rows)),
        exhausted=tuple(_exhausted(evaluations)),
        counts=tuple(
            ArmCounts(target=target, arm=arm, counts=curated[step])
            for (target, arm), step in sorted(layout.curations.items())
            if step in curated
        ),
    )


def _rows(
    evaluations: Evaluations, metrics: tuple[Metric, ...], test_images: Mapping[StepId, int]
) -> Iterator[ResultRow]:
    splits = evaluations.layout.splits
    for cell, result in evaluations:
        for test_set, tested in result.tests.items():
            images = test_images[splits[cell.target, test_set]]
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


def _exhausted(evaluations: Evaluations) -> Iterator[Exhausted]:
    """Once per (target, arm, size): a pool is as large whatever the seed."""
    found = {
        (cell.target, cell.arm, cell.size): result.available or 0 for cell, result in evaluations if exhausted(result)
    }
    for (target, arm, size), available in sorted(found.items()):
        yield Exhausted(target=target, arm=arm, size=size, available=available)
