"""Results and verdicts of stored experiments."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from sqlalchemy import select
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import CONFIDENCE
from touchstone_contracts.problems import Invalid, NotFound
from touchstone_contracts.steps import Tested
from touchstone_contracts.values import StepId
from touchstone_contracts.views import ClassTable, ExperimentManifest, Results, Scaling, Verdict
from touchstone_planning.dag import Plan
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import ResolvedExperiment
from touchstone_runtime.artifacts import Artifacts
from touchstone_store.database import Store
from touchstone_store.experiments import resolved_of
from touchstone_store.tables import PlanStepRow, StepRow

from touchstone_api.results.classes import class_rows, count_predictions, top_confusions
from touchstone_api.results.collect import cells_of, collect, exhausted
from touchstone_api.results.evaluations import Finished
from touchstone_api.results.finished import FinishedSteps
from touchstone_api.results.manifest import manifest_of
from touchstone_api.results.problems import NotFinished

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

REMEMBERED_EXPERIMENTS = 64
REMEMBERED_VERDICTS = 256


@dataclass(frozen=True)
class Planned:
    """An experiment with its plan; both follow from its stored facts and never change."""

    resolved: ResolvedExperiment
    plan: Plan


class ResultsReader:
    """One per process; remembers what cannot change."""

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self.store = store
        self.finished = FinishedSteps(artifacts)
        self.planned = lru_cache(REMEMBERED_EXPERIMENTS)(self._planned)
        self._complete: dict[str, Results] = {}
        self._verdicts: dict[tuple[str, bool, str], Verdict] = {}
        self._scalings: dict[tuple[str, str], Scaling] = {}

    def _planned(self, experiment: str) -> Planned:
        with self.store.read() as session:
            resolved = resolved_of(session, experiment)
        return Planned(resolved, plan_experiment(resolved))

    def results(self, experiment: str) -> Results:
        """What is known so far. Raises NotFound."""
        planned = self.planned(experiment)
        if experiment in self._complete:
            return self._complete[experiment]
        metrics = planned.resolved.spec.evaluation.metrics
        results = collect(experiment, planned.plan, metrics, self.finished, self._succeeded(experiment))
        if results.complete:
            _remember(self._complete, experiment, results, REMEMBERED_EXPERIMENTS)
        return results

    def verdict(self, experiment: str) -> Verdict:
        """Raises NotFound, NotFinished, NoComparison, or Unfair when there is nothing to compare."""
        # scipy takes 20 MB: only processes that judge pay for it.
        from touchstone_verdict.judge import judge

        from touchstone_api.results.evidence import gather_evidence

        results = self.results(experiment)
        key = (experiment, results.complete, results.digest)
        if key not in self._verdicts:
            evidence = gather_evidence(self._evaluations(experiment), results)
            _remember(self._verdicts, key, judge(evidence), REMEMBERED_VERDICTS)
        return self._verdicts[key]

    def class_table(
        self, experiment: str, arm: str, size: int, metric: Metric | None, target: str | None, test_set: str
    ) -> ClassTable:
        """The arm at a size over all seeds. Raises NotFound, NotFinished while a seed is missing, Invalid."""
        planned = self.planned(experiment)
        spec = planned.resolved.spec
        target = one_target(spec.targets, target)
        metric = metric or spec.evaluation.metrics[0]
        if metric not in spec.evaluation.metrics:
            raise NotFound(f"experiment {experiment!r} does not measure {metric!r}")
        if (target, test_set) not in planned.plan.tests:
            raise NotFound(f"target {target!r} has no test set {test_set!r}")
        labels = planned.resolved.classes_of(target)
        reached = self._seeds(planned.plan, target, arm, size, test_set)
        counts = count_predictions(self.finished, reached, metric, len(labels))
        baseline = spec.untouched
        untouched = None
        if baseline is not None:
            before = self._seeds(planned.plan, target, baseline, 0, test_set)
            untouched = count_predictions(self.finished, before, metric, len(labels))
        return ClassTable(
            experiment=experiment,
            target=target,
            arm=arm,
            size=size,
            metric=metric,
            test_set=test_set,
            seeds=len(reached),
            classes=class_rows(labels, counts, untouched),
            confusions=top_confusions(counts),
        )

    def manifest(self, experiment: str) -> ExperimentManifest:
        """Raises NotFound."""
        results = self.results(experiment)  # first, so that complete results never lack a training set
        return manifest_of(self.planned(experiment).resolved, self._evaluations(experiment), results)

    def _seeds(self, plan: Plan, target: str, arm: str, size: int, test_set: str) -> list[Tested]:
        steps = [step for cell, step in cells_of(plan, target, arm).items() if cell.size == size]
        if not steps:
            raise NotFound(f"no arm {arm!r} of size {size} at target {target!r}")
        found = self.finished.evaluations(steps)
        if len(found) < len(steps):
            raise NotFinished(f"{len(steps) - len(found)} evaluations of {arm!r} at size {size} are still to come")
        if any(exhausted(result) for result in found.values()):
            raise NotFound(f"arm {arm!r} has too few images for size {size} at target {target!r}")
        return [result.tests[test_set] for result in found.values()]

    def scaling(self, experiment: str) -> Scaling:
        """Of what has finished so far. Raises NotFound."""
        from touchstone_verdict.scaling import scaling_fits

        from touchstone_api.results.evidence import gather_curves

        results = self.results(experiment)
        key = (experiment, results.digest)
        if key not in self._scalings:
            finished = self._evaluations(experiment)
            primary = finished.spec.primary
            confidence = primary.confidence if primary else CONFIDENCE
            fits = tuple(
                fit
                for test_set in finished.plan.test_sets
                for fit in scaling_fits(gather_curves(finished, test_set), test_set, confidence, results.digest)
            )
            found = Scaling(experiment=experiment, confidence=confidence, fits=fits, results_digest=results.digest)
            _remember(self._scalings, key, found, REMEMBERED_VERDICTS)
        return self._scalings[key]

    def _evaluations(self, experiment: str) -> Finished:
        planned, succeeded = self.planned(experiment), self._succeeded(experiment)
        steps = [step for step in planned.plan.evaluations.values() if step in succeeded]
        evaluations = self.finished.evaluations(steps)
        return Finished(planned.resolved.spec, planned.plan, evaluations, self.finished)

    def _succeeded(self, experiment: str) -> frozenset[StepId]:
        query = (
            select(StepRow.id)
            .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
            .where(PlanStepRow.plan_id == experiment, StepRow.state == "succeeded")
        )
        with self.store.read() as session:
            return frozenset(session.scalars(query))

    def curation_step(self, experiment: str, arm: str, target: str | None) -> tuple[str, StepId]:
        """The target meant (the only one if not named) and the step that curated the arm's images there."""
        planned = self.planned(experiment)
        target = one_target(planned.resolved.spec.targets, target)
        step = planned.plan.curations.get((target, arm))
        if step is None:
            raise NotFound(f"experiment {experiment!r} has no training set of arm {arm!r} at target {target!r}")
        return target, step


def one_target(targets: Sequence[str], target: str | None) -> str:
    """The one that is named, or the only one there is."""
    if target is None and len(targets) > 1:
        raise Invalid(f"name a target: {', '.join(targets)}", code="target_needed")
    return target or targets[0]


def _remember(memory: dict[KeyT, ValueT], key: KeyT, value: ValueT, limit: int) -> None:
    """Forgets the oldest beyond `limit`."""
    memory[key] = value
    while len(memory) > limit:
        memory.pop(next(iter(memory)), None)
