"""What each arm cost, from the records of its steps."""

from collections import Counter
from collections.abc import Collection, Mapping

from touchstone_contracts.layout import Cell
from touchstone_contracts.steps import EvaluateEncoder
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Cost
from touchstone_planning.ancestry import with_ancestors
from touchstone_planning.dag import Plan
from touchstone_runtime.objects import MissingObject
from touchstone_verdict.costs import Spent, shared, total

from touchstone_api.results.evaluations import Finished


def costs_by_arm(finished: Finished) -> dict[str, Spent]:
    """Of every arm that trains, has finished everywhere and whose steps' records are all there."""
    plan = finished.plan
    pools = {
        pair: with_ancestors(curation, lambda step: plan.step(step).inputs) for pair, curation in plan.curations.items()
    }
    users = Counter(step for steps in pools.values() for step in steps)
    finished_arms = [arm.name for arm in finished.spec.training_arms if _finished_everywhere(finished, arm.name)]
    costs = {arm: _cost(finished, arm, pools, users) for arm in finished_arms}
    return {arm: cost for arm, cost in costs.items() if cost is not None}


def _finished_everywhere(finished: Finished, arm: str) -> bool:
    targets = finished.spec.targets
    return all(finished.reached(target, arm) and not finished.missing(target, arm) for target in targets)


def _cost(
    finished: Finished, arm: str, pools: Mapping[tuple[str, str], Collection[StepId]], users: Mapping[StepId, int]
) -> Spent | None:
    """Mean over targets. None when the record of a step was lost: a verdict does not depend on what it cost."""
    targets = finished.spec.targets
    try:
        sourcing = total(_shared_costs(finished, pools[target, arm], users) for target in targets)
        adapting = total(_one_model(finished, target, arm) for target in targets)
    except MissingObject:
        return None
    return Spent(shared(sourcing, len(targets)), shared(adapting, len(targets)))


def _shared_costs(finished: Finished, steps: Collection[StepId], users: Mapping[StepId, int]) -> Cost:
    return total(shared(cost, users[step]) for step, cost in finished.steps.costs(sorted(steps)).items())


def _one_model(finished: Finished, target: str, arm: str) -> Cost:
    """The whole grid of learning rates, averaged over the sizes that the arm reached and over seeds."""
    cells = list(finished.reached(target, arm))
    steps = {adaptation for cell in cells for adaptation in _adaptations(finished.plan, cell)}
    return shared(total(finished.steps.costs(sorted(steps)).values()), len(cells))


def _adaptations(plan: Plan, cell: Cell) -> list[StepId]:
    request = plan.step(plan.evaluations[cell]).request
    assert isinstance(request, EvaluateEncoder)
    return [adaptation.step for adaptation in request.adaptations]
