"""An arm by class: accuracy, its change against the untouched encoder, and what is taken for what."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.steps import Tested
from touchstone_contracts.views import ClassRow, Confusion
from touchstone_runtime.finished import FinishedSteps

MOST_CONFUSIONS = 20

Counts = npt.NDArray[np.float64]
"""(true class, predicted class): images, mean over seeds."""


def count_predictions(steps: FinishedSteps, evaluations: Sequence[Tested], metric: Metric, classes: int) -> Counts:
    """The confusion matrix of finished evaluations on one test set, one per seed. Raises MissingObject."""
    labels = steps.arrays(result.labels for result in evaluations if result.labels is not None)
    predicted = steps.arrays(result.predictions[metric].classes for result in evaluations)
    cells = [truth.astype(np.int64) * classes + found for truth, found in zip(labels, predicted, strict=True)]
    counts = np.bincount(np.concatenate(cells), minlength=classes * classes)
    mean: Counts = counts.reshape(classes, classes) / len(cells)
    return mean


def class_rows(labels: Sequence[ClassLabel], counts: Counts, untouched: Counts | None) -> tuple[ClassRow, ...]:
    """The largest losses first; without an untouched encoder the lowest accuracies first."""
    before = [None] * len(labels) if untouched is None else accuracies(untouched)
    rows = [
        ClassRow(
            class_id=label.id,
            display_name=label.display_name,
            test_images=round(counts[label.id].sum()),
            accuracy=now,
            untouched=then,
            change=None if now is None or then is None else now - then,
        )
        for label, now, then in zip(labels, accuracies(counts), before, strict=True)
    ]
    return tuple(sorted(rows, key=_worst_first))


def accuracies(counts: Counts) -> list[float | None]:
    """By class; None where the class has no test image."""
    images = counts.sum(axis=1)
    return [float(counts[row, row] / total) if total else None for row, total in enumerate(images)]


def _worst_first(row: ClassRow) -> tuple[bool, float, float]:
    known = row.accuracy is not None
    return not known, row.change or 0.0, row.accuracy or 0.0


def top_confusions(counts: Counts) -> tuple[Confusion, ...]:
    """The most frequent mistakes, at most MOST_CONFUSIONS; of equal ones the lower class ids first."""
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_CONFUSIONS]
    cells = np.stack(np.unravel_index(order, mistakes.shape), axis=1).tolist()
    return tuple(
        Confusion(class_id=truth, predicted_id=found, images=float(mistakes[truth, found]))
        for truth, found in cells
        if mistakes[truth, found] > 0
    )
