"""Where an experiment's numbers come from: which step measures which cell.

Stored with the experiment when it is posted, so that every later release reads it the same."""

from collections.abc import Collection
from typing import Annotated

from touchstone_contracts.catalogue import Cluster
from touchstone_contracts.inputs import Indirect
from touchstone_contracts.values import Name, StepId, Strict, WhenSet


class Cell(Strict):
    """One point of the results: the untouched encoder has size 0."""

    target: Name
    arm: Name
    size: int
    seed: int


class Adaptation(Strict):
    """One cell of the (learning rate x seed) grid of an arm at a size."""

    learning_rate: float | None
    seed: int
    step: StepId


class CellStep(Strict):
    cell: Cell
    step: StepId
    """An evaluate_encoder step."""


class Grid(Strict):
    """The runs that an arm chooses its learning rate from at a size."""

    target: Name
    arm: Name
    size: int
    adaptations: tuple[Adaptation, ...]


class PoolStep(Strict):
    target: Name
    arm: Name
    step: StepId
    """A curate_images or mix_pools step; of an audit the audit_pool step."""


class ProbeStep(Strict):
    """A probe_sources step of the two arms that are compared."""

    target: Name
    arms: tuple[Name, Name]
    step: StepId


class SplitStep(Strict):
    target: Name
    test_set: Name
    step: StepId
    """An ingest_images step."""
    cluster: Annotated[Cluster | None, WhenSet] = None
    """Which of its images were drawn together."""


class CheckStep(Strict):
    """A check_target or compare_splits step."""

    target: Name
    step: StepId


class PlanLayout(Strict):
    cells: tuple[CellStep, ...]
    grids: Annotated[tuple[Grid, ...], Indirect] = ()
    pools: tuple[PoolStep, ...] = ()
    tests: tuple[SplitStep, ...]
    audits: Annotated[tuple[PoolStep, ...], WhenSet] = ()
    """None in plans of before there were any."""

    probes: Annotated[tuple[ProbeStep, ...], WhenSet] = ()
    """Likewise. No judgement depends on them, so that layouts of judgements have none."""

    checks: Annotated[tuple[CheckStep, ...], WhenSet] = ()
    """Likewise."""
    likenesses: Annotated[tuple[CheckStep, ...], WhenSet] = ()
    """Likewise: of each target the compare_splits step."""
    validations: Annotated[tuple[SplitStep, ...], WhenSet] = ()
    """Likewise: the validation split of each target."""

    @property
    def evaluations(self) -> dict[Cell, StepId]:
        return {entry.cell: entry.step for entry in self.cells}

    @property
    def curations(self) -> dict[tuple[str, str], StepId]:
        """By (target, arm)."""
        return {(entry.target, entry.arm): entry.step for entry in self.pools}

    @property
    def splits(self) -> dict[tuple[str, str], StepId]:
        """By (target, test set)."""
        return {(entry.target, entry.test_set): entry.step for entry in self.tests}

    @property
    def test_sets(self) -> tuple[str, ...]:
        """Those of any target, the main one first."""
        return tuple(dict.fromkeys(entry.test_set for entry in self.tests))

    def part(self, arms: Collection[str], seeds: Collection[int] | None = None) -> "PlanLayout":
        """Of these arms and seeds alone; None: every seed."""
        return PlanLayout(
            cells=tuple(
                entry for entry in self.cells if entry.cell.arm in arms and (seeds is None or entry.cell.seed in seeds)
            ),
            grids=tuple(entry for entry in self.grids if entry.arm in arms),
            pools=tuple(entry for entry in self.pools if entry.arm in arms),
            tests=self.tests,
            audits=tuple(entry for entry in self.audits if entry.arm in arms),
            checks=self.checks,
            likenesses=self.likenesses,
            validations=self.validations,
        )
