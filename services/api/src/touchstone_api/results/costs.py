"""What each arm cost, from the records of its steps."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from touchstone_contracts.values import StepId
from touchstone_contracts.views import Cost, Results
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.objects import MissingObject
from touchstone_store.costs import StepCost, ancestors_of, costs_of
from touchstone_store.database import Store
from touchstone_verdict.costs import Spent, shared, total

if TYPE_CHECKING:
    from touchstone_api.results.reader import Planned

Costs = Mapping[StepId, Cost]


def costs_by_arm(store: Store, finished: FinishedSteps, planned: "Planned", results: Results) -> dict[str, Spent]:
    """Of every arm that trains, has finished everywhere and whose steps' records are all there."""
    curations, targets = planned.plan.layout.curations, planned.spec.targets
    adapting = _adaptations(planned, results)
    with store.read() as session:
        pools = ancestors_of(session, set(curations.values()))
        steps = {step for pool in pools.values() for step in pool} | {
            step for runs in adapting.values() for run in runs for step in run
        }
        kept = costs_of(session, steps)
    users = Counter(step for pool in curations.values() for step in pools[pool])
    costs = _known(kept, finished)
    found = {}
    for arm in (arm.name for arm in planned.spec.training_arms):
        sourced = [pools[curations[target, arm]] for target in targets]
        runs = [adapting[target, arm] for target in targets]
        needed = {step for pool in sourced for step in pool} | {step for run in runs for size in run for step in size}
        if all(runs) and needed <= costs.keys():
            found[arm] = Spent(
                shared(total(_shared(costs, pool, users) for pool in sourced), len(targets)),
                shared(total(_one_model(costs, run) for run in runs), len(targets)),
            )
    return found


def _adaptations(planned: "Planned", results: Results) -> dict[tuple[str, str], list[tuple[StepId, ...]]]:
    """(target, arm) -> the grid of learning rates of each cell that the arm reached; empty until all cells are in."""
    layout = planned.plan.layout
    exhausted = {(entry.target, entry.arm, entry.size) for entry in results.exhausted}
    measured = {(row.target, row.arm, row.size, row.seed) for row in results.rows}
    grids = {(grid.target, grid.arm, grid.size): tuple(run.step for run in grid.adaptations) for grid in layout.grids}
    found: dict[tuple[str, str], list[tuple[StepId, ...]]] = {key: [] for key in layout.curations}
    unfinished = set()
    for entry in layout.cells:
        cell = entry.cell
        key, size = (cell.target, cell.arm), (cell.target, cell.arm, cell.size)
        if key not in found or size in exhausted:
            continue
        if (*size, cell.seed) not in measured:
            unfinished.add(key)
        found[key].append(grids[size])
    return {key: [] if key in unfinished else runs for key, runs in found.items()}


def _known(kept: Mapping[StepId, StepCost], finished: FinishedSteps) -> dict[StepId, Cost]:
    """Steps whose record was lost are left out: a verdict does not depend on what it cost."""
    known = {
        step: Cost(cpu_seconds=cost.cpu_seconds, gpu_seconds=cost.gpu_seconds)
        for step, cost in kept.items()
        if cost.gpu_seconds is not None
    }
    try:
        return known | finished.costs(step for step in kept if step not in known)
    except MissingObject:
        return known


def _shared(costs: Costs, steps: Collection[StepId], users: Mapping[StepId, int]) -> Cost:
    return total(shared(costs[step], users[step]) for step in sorted(steps))


def _one_model(costs: Costs, cells: Collection[Iterable[StepId]]) -> Cost:
    """The whole grid of learning rates, averaged over the cells: the sizes that the arm reached, and seeds."""
    steps = {step for grid in cells for step in grid}
    return shared(total(costs[step] for step in sorted(steps)), len(cells))
