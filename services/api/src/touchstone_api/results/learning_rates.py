"""Which learning rates the compared arms chose, with the validation accuracies they chose by."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.layout import Cell
from touchstone_contracts.steps import EvaluateEncoder
from touchstone_verdict.learning_rates import Choices, Grid

from touchstone_api.results.evaluations import Finished


def rate_choices(finished: Finished, comparison: Comparison) -> Iterator[Choices]:
    """One entry per target and size that both arms reached; nothing where they chose alike everywhere."""
    places = list(_common_places(finished, comparison))
    if all(a.learning_rate == b.learning_rate for a, b in places):
        return
    for a, b in places:
        grids = _grid(finished, a.cell), _grid(finished, b.cell)
        yield Choices(a.cell.target, a.cell.size, a.learning_rate, b.learning_rate, *grids)


class _Chosen(NamedTuple):
    cell: Cell
    learning_rate: float


def _common_places(finished: Finished, comparison: Comparison) -> Iterator[tuple[_Chosen, _Chosen]]:
    for target in finished.spec.targets:
        of_a, of_b = (_chosen_by_size(finished, target, arm) for arm in (comparison.a, comparison.b))
        yield from ((of_a[size], of_b[size]) for size in sorted(of_a.keys() & of_b.keys()))


def _chosen_by_size(finished: Finished, target: str, arm: str) -> dict[int, _Chosen]:
    """One cell of each size: the choice is the same for every seed."""
    reached = finished.reached(target, arm)
    return {cell.size: _Chosen(cell, result.learning_rate) for cell, result in reached.items() if result.learning_rate}


def _grid(finished: Finished, cell: Cell) -> Grid:
    """As the evaluation of `cell` saw it. Raises MissingObject when an adaptation was lost from the object store."""
    request = finished.plan.step(finished.plan.evaluations[cell]).request
    assert isinstance(request, EvaluateEncoder)
    accuracies: dict[float, list[float]] = defaultdict(list)
    for adaptation in request.adaptations:
        if adaptation.learning_rate is None:
            continue
        epochs = finished.steps.adapted(adaptation.step).epochs
        accuracies[adaptation.learning_rate].append(max(epoch.validation_accuracy for epoch in epochs))
    return {rate: float(np.mean(found)) for rate, found in accuracies.items()}
