"""Which learning rates the compared arms chose, with the validation accuracies they chose by."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.steps import JudgeExperiment
from touchstone_runtime.finished import FinishedSteps, read_all
from touchstone_verdict.learning_rates import Choices, Grid
from touchstone_verdict.results import Evaluations, exhausted

Key = tuple[str, str, int]
"""(target, arm, size)"""


def read_choices(
    request: JudgeExperiment, comparison: Comparison, evaluations: Evaluations, steps: FinishedSteps
) -> Iterator[Choices]:
    """One entry per target and size that both arms reached; nothing where they chose alike everywhere, or where only
    some seeds are judged. Raises MissingObject when a run was lost from the object store."""
    chosen = _chosen(evaluations)
    common = [
        (target, size, chosen[target, comparison.a, size], chosen[target, comparison.b, size])
        for target in request.targets
        for size in sorted(request.sizes)
        if (target, comparison.a, size) in chosen and (target, comparison.b, size) in chosen
    ]
    if request.first_seeds is not None or all(rate_a == rate_b for _, _, rate_a, rate_b in common):
        return
    grids = _read_grids(
        request, {(target, arm, size) for target, size, *_ in common for arm in (comparison.a, comparison.b)}, steps
    )
    for target, size, rate_a, rate_b in common:
        of_a, of_b = (grids[target, arm, size] for arm in (comparison.a, comparison.b))
        yield Choices(target, size, rate_a, rate_b, of_a, of_b)


def _chosen(evaluations: Evaluations) -> dict[Key, float]:
    """The same for every seed; recipes without a learning rate choose none."""
    return {
        (cell.target, cell.arm, cell.size): result.learning_rate
        for cell, result in evaluations
        if result.learning_rate is not None and not exhausted(result)
    }


def _read_grids(request: JudgeExperiment, keys: set[Key], steps: FinishedSteps) -> dict[Key, Grid]:
    wanted = [grid for grid in request.layout.grids if (grid.target, grid.arm, grid.size) in keys]
    runs = [run for grid in wanted for run in grid.adaptations if run.learning_rate is not None]
    adapted = read_all(steps.adapted, (run.step for run in runs))
    grids: dict[Key, Grid] = {}
    for grid in wanted:
        accuracies: dict[float, list[float]] = defaultdict(list)
        for run in grid.adaptations:
            if run.learning_rate is not None:
                best = max(epoch.validation_accuracy for epoch in adapted[run.step].epochs)
                accuracies[run.learning_rate].append(best)
        grids[grid.target, grid.arm, grid.size] = {rate: float(np.mean(found)) for rate, found in accuracies.items()}
    return grids
