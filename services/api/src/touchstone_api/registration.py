"""What is frozen when an experiment is posted."""

from collections.abc import Collection
from datetime import datetime

from touchstone_contracts.experiment import SPREAD, ExperimentSpec
from touchstone_contracts.identity import identity
from touchstone_contracts.layout import Cell, PlanLayout
from touchstone_contracts.registration import EXCLUSION_RULES, Parent, RegisteredFacts
from touchstone_contracts.values import Digest, StepId


def registered_facts(
    spec: ExperimentSpec,
    experiment: Digest,
    layout: PlanLayout,
    known: Collection[StepId],
    parent: Parent | None,
    now: datetime,
) -> RegisteredFacts:
    """`experiment`: its identity; `known`: steps whose results are there already."""
    primary = spec.primary
    if primary is not None and primary.spread is None:  # what this release judges by is part of what is declared
        primary = primary.model_copy(update={"spread": SPREAD})
    arms = {primary.a, primary.b} if primary else {arm.name for arm in spec.training_arms}
    runs = [entry.cell for entry in layout.cells if entry.cell.arm in arms]
    trained = _trained(layout, known)
    return RegisteredFacts(
        spec=identity(spec),
        experiment=experiment,
        registered_at=now,
        primary=primary,
        targets=spec.targets,
        sizes=spec.sizes,
        seeds=spec.seeds,
        exclusions=spec.exclusions,
        exclusion_rules=EXCLUSION_RULES,
        parent=parent,
        runs_planned=len(runs),
        runs_known=sum(run in trained or layout.evaluations[run] in known for run in runs),
    )


def _trained(layout: PlanLayout, known: Collection[StepId]) -> set[Cell]:
    """Runs that an earlier experiment has trained; it may have measured them by a step of its own."""
    return {
        Cell(target=grid.target, arm=grid.arm, size=grid.size, seed=adaptation.seed)
        for grid in layout.grids
        for adaptation in grid.adaptations
        if adaptation.step in known
    }
