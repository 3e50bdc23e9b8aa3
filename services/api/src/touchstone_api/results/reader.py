"""Results and verdicts of stored experiments."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from sqlalchemy import select
from touchstone_contracts.experiment import CONFIDENCE
from touchstone_contracts.problems import Invalid, NotFound
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Results, Scaling, Verdict
from touchstone_runtime.artifacts import Artifacts

from touchstone_api.experiments.dag import Plan
from touchstone_api.experiments.plan import plan_experiment
from touchstone_api.experiments.resolve import ResolvedExperiment
from touchstone_api.results.collect import collect
from touchstone_api.results.evaluations import Finished
from touchstone_api.results.finished import FinishedSteps
from touchstone_api.store.database import Store
from touchstone_api.store.experiments import require_experiment
from touchstone_api.store.tables import PlanStepRow, StepRow

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
            resolved = require_experiment(session, experiment).resolved
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
        from touchstone_api.results.evidence import gather_evidence
        from touchstone_api.verdict.judge import judge

        results = self.results(experiment)
        key = (experiment, results.complete, results.digest)
        if key not in self._verdicts:
            evidence = gather_evidence(self._evaluations(experiment), results)
            _remember(self._verdicts, key, judge(evidence), REMEMBERED_VERDICTS)
        return self._verdicts[key]

    def scaling(self, experiment: str) -> Scaling:
        """Of what has finished so far. Raises NotFound."""
        from touchstone_api.results.evidence import gather_curves
        from touchstone_api.verdict.scaling import scaling_fits

        results = self.results(experiment)
        key = (experiment, results.digest)
        if key not in self._scalings:
            finished = self._evaluations(experiment)
            primary = finished.spec.primary
            confidence = primary.confidence if primary else CONFIDENCE
            fits = scaling_fits(gather_curves(finished), confidence, results.digest)
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
        targets = planned.resolved.spec.targets
        if target is None and len(targets) > 1:
            raise Invalid(f"name a target: {', '.join(targets)}", code="target_needed")
        target = target or targets[0]
        step = planned.plan.curations.get((target, arm))
        if step is None:
            raise NotFound(f"experiment {experiment!r} has no training set of arm {arm!r} at target {target!r}")
        return target, step


def _remember(memory: dict[KeyT, ValueT], key: KeyT, value: ValueT, limit: int) -> None:
    """Forgets the oldest beyond `limit`."""
    memory[key] = value
    while len(memory) > limit:
        memory.pop(next(iter(memory)), None)
