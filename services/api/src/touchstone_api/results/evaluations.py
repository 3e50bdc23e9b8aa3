"""The finished evaluations of an experiment, by place."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self

from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.layout import Cell
from touchstone_contracts.steps import EncoderEvaluated
from touchstone_contracts.values import StepId
from touchstone_planning.dag import Plan
from touchstone_runtime.finished import FinishedSteps
from touchstone_verdict.results import exhausted


def cells_of(plan: Plan, target: str, arm: str) -> dict[Cell, StepId]:
    return {cell: step for cell, step in plan.evaluations.items() if (cell.target, cell.arm) == (target, arm)}


@dataclass(frozen=True)
class Finished:
    """An experiment's finished evaluations."""

    spec: ExperimentSpec
    plan: Plan
    evaluations: Mapping[StepId, EncoderEvaluated]
    steps: FinishedSteps

    def of_seeds(self, seeds: Collection[int]) -> Self:
        """The same experiment as if it had asked for no other seeds."""
        evaluations = {cell: step for cell, step in self.plan.evaluations.items() if cell.seed in seeds}
        return replace(self, plan=replace(self.plan, evaluations=evaluations))

    def missing(self, target: str, arm: str) -> int:
        return sum(step not in self.evaluations for step in cells_of(self.plan, target, arm).values())

    def reached(self, target: str, arm: str) -> dict[Cell, EncoderEvaluated]:
        """The arm's evaluations at sizes it reached, in the plan's order: by size, then by seed."""
        found = {cell: self.evaluations[step] for cell, step in cells_of(self.plan, target, arm).items()}
        return {cell: result for cell, result in found.items() if not exhausted(result)}
