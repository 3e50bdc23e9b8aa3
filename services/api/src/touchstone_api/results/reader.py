"""Results and verdicts of stored experiments, read by their stored plans. Nothing is judged here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import CONFIDENCE, ExperimentSpec
from touchstone_contracts.layout import Cell
from touchstone_contracts.problems import Invalid, NotFound, in_words
from touchstone_contracts.registration import Parent
from touchstone_contracts.steps import JUDGE_EXPERIMENT, RETRIEVE_IMAGES, ExperimentJudged, ImagesCurated, Tested
from touchstone_contracts.suggestions import unknown
from touchstone_contracts.values import Blob, Digest, StepId
from touchstone_contracts.views import (
    ArmLabels,
    ClassTable,
    ExperimentAccount,
    ExperimentManifest,
    LabelCards,
    Results,
    Scaling,
    ScalingFit,
    SearchedQueries,
    SourceAccount,
    SourcesOfTarget,
    Verdict,
)
from touchstone_planning.dag import Judgement
from touchstone_planning.layout import StoredPlan
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps, read_all, read_finished
from touchstone_store.database import Store
from touchstone_store.experiments import require_experiment, require_presence, resolved_of
from touchstone_store.layouts import finished_of_kinds, planned_steps, stored_plan_of
from touchstone_store.steps import succeeded_among
from touchstone_store.takedowns import last_applied, takedowns_of
from touchstone_verdict.costs import arm_costs
from touchstone_verdict.results import Evaluations, collect, exhausted

from touchstone_api.results.accounts import WITH_NOTES, generation_notes, source_accounts, sources_of_experiment
from touchstone_api.results.classes import class_rows, count_predictions, top_confusions
from touchstone_api.results.costs import costs_by_arm
from touchstone_api.results.manifest import manifest_of
from touchstone_api.results.predictions import predictions_file
from touchstone_api.results.problems import NotFinished, NotJudgeable
from touchstone_api.results.searches import searched_queries
from touchstone_api.results.training_sets import TrainingSets
from touchstone_api.views import read_registration

DocumentT = TypeVar("DocumentT", Results, Scaling, Verdict)

REMEMBERED_EXPERIMENTS = 64
REMEMBERED_DOCUMENTS = 256


@dataclass(frozen=True)
class Planned:
    """An experiment with what was stored of its plan; neither ever changes."""

    spec: ExperimentSpec
    plan: StoredPlan


class ResultsReader:
    """One per process; remembers what cannot change."""

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self.store = store
        self.finished = FinishedSteps(artifacts)
        self._takedowns_seen: datetime | None = None
        self._remembered_plan = lru_cache(REMEMBERED_EXPERIMENTS)(self._planned)
        self.resolved = lru_cache(REMEMBERED_EXPERIMENTS)(self._resolved)
        self._judged = lru_cache(REMEMBERED_DOCUMENTS)(self._read_judged)
        self._document = lru_cache(REMEMBERED_DOCUMENTS)(self._read_document)
        self.training_sets = TrainingSets(artifacts)

    def planned(self, experiment: str) -> Planned:
        """Remembered while the experiment is there. Raises NotFound."""
        with self.store.read() as session:
            require_presence(session, experiment)
            applied = last_applied(session)
        if applied != self._takedowns_seen:
            self.finished.forget_images()
            self._takedowns_seen = applied
        return self._remembered_plan(experiment)

    def _planned(self, experiment: str) -> Planned:
        with self.store.read() as session:
            return Planned(require_experiment(session, experiment).readable_spec, stored_plan_of(session, experiment))

    def _resolved(self, experiment: str) -> ResolvedExperiment:
        with self.store.read() as session:
            return resolved_of(session, experiment)

    def _read_judged(self, step: StepId) -> ExperimentJudged:
        return self.finished.artifacts.result(JUDGE_EXPERIMENT, step)

    def _read_document(self, kind: type[DocumentT], blob: Blob) -> DocumentT:
        return kind.model_validate_json(self.finished.artifacts.get_blob(blob))

    def _last_judgement(self, experiment: str) -> tuple[Judgement, ExperimentJudged] | None:
        """The one that supersedes all others that are there."""
        judgements = self.planned(experiment).plan.judgements
        done = self.done([judgement.step for judgement in judgements])
        found = [judgement for judgement in judgements if judgement.step in done]
        return (found[-1], self._judged(found[-1].step)) if found else None

    def is_done(self, step: StepId) -> bool:
        return bool(self.done([step]))

    def done(self, steps: Collection[StepId]) -> frozenset[StepId]:
        with self.store.read() as session:
            return frozenset(succeeded_among(session, steps))

    def results(self, experiment: str) -> Results:
        """What is known so far. Raises NotFound."""
        judgement = self._last_judgement(experiment)
        if judgement is not None and judgement[0].complete and judgement[1].results is not None:
            stored: Results = self._document(Results, judgement[1].results)
            return stored.model_copy(update={"experiment": experiment})
        planned, evaluations = self.planned(experiment), self._evaluations(experiment)
        curated = self.done(evaluations.layout.curations.values())
        return collect(
            evaluations,
            planned.spec.evaluation.metrics,
            {step: self.finished.test_images(step) for step in _tested_splits(evaluations)},
            {step: self.finished.curated(step).counts for step in curated},
            experiment,
        )

    def as_parent(self, experiment: str) -> Parent:
        """What could be seen of an experiment that is being cloned, now."""
        try:
            plan = self.planned(experiment).plan
        except NotFound:
            return Parent(experiment=experiment, measured=None, judged=None)
        judgements = {judgement.step for judgement in plan.judgements}
        measurements = list(plan.layout.evaluations.values())
        done = self.done({*judgements, *measurements})
        measured = sum(step in done for step in measurements)
        return Parent(experiment=experiment, measured=measured, judged=not done.isdisjoint(judgements))

    def stored_verdict(self, experiment: str) -> Verdict | None:
        """The latest as it was judged, without costs. None before there is one. Raises NotFound, or NotJudgeable when
        there will never be one."""
        judgement = self._last_judgement(experiment)
        if judgement is None:
            return None
        judged = judgement[1]
        if judged.problem is not None:
            raise NotJudgeable.of(judged.problem)
        assert judged.verdict is not None  # a judgement without a problem has a verdict
        verdict: Verdict = self._document(Verdict, judged.verdict)
        return verdict

    def verdict(self, experiment: str) -> Verdict:
        """The latest there is. Raises NotFound, NotFinished, or NotJudgeable when there will never be one."""
        verdict = self.stored_verdict(experiment)
        if verdict is None:
            raise NotFinished(self._still_to_come(experiment))
        spent = costs_by_arm(self.store, self.finished, self.planned(experiment), self.results(experiment))
        costs = arm_costs(spent, verdict.primary.metric, verdict.baseline)
        with self.store.read() as session:
            registration = read_registration(session, experiment)
            takedowns = takedowns_of(session, [experiment]).get(experiment, ())
        facts = {
            "experiment": experiment,
            "costs": costs,
            "registration": registration,
            "added_later": registration.added_later if registration else (),
            "warnings": (*verdict.warnings, *(takedown.words for takedown in takedowns)),
        }
        return verdict.model_copy(update=facts)

    def _still_to_come(self, experiment: str) -> str:
        planned = self.planned(experiment)
        primary = planned.spec.primary
        arms = (primary.a, primary.b) if primary else tuple(arm.name for arm in planned.spec.arms)
        cells = [entry for entry in planned.plan.layout.cells if entry.cell.arm in arms]
        done = self.done({entry.step for entry in cells})
        missing = [entry.cell.seed for entry in cells if entry.step not in done]
        if not missing:
            return "every evaluation is in and the verdict is being computed"
        if primary is not None and primary.stopping != "fixed":
            seeds = planned.spec.seeds
            first = next(number for number, seed in enumerate(seeds) if seed in missing)
            wanted = (
                "an interval needs two" if primary.stopping == "anytime" else f"the first look needs {primary.looks[0]}"
            )
            return f"{first} of {len(seeds)} seeds are in; {wanted}"
        return f"{len(missing)} evaluations of {' and '.join(arms)} are still to come"

    def scaling(self, experiment: str) -> Scaling:
        """No law until every run is in. Raises NotFound."""
        stored = self._stored_scaling(experiment)
        if stored is None:
            primary = self.planned(experiment).spec.primary
            confidence = primary.confidence if primary else CONFIDENCE
            digest = self.results(experiment).digest
            return Scaling(experiment=experiment, confidence=confidence, fits=(), results_digest=digest)
        return stored.model_copy(update={"experiment": experiment})

    def scaling_fits(self, experiment: str) -> tuple[ScalingFit, ...]:
        """Those of `scaling`, for which no results are collected where there are none."""
        stored = self._stored_scaling(experiment)
        return () if stored is None else stored.fits

    def _stored_scaling(self, experiment: str) -> Scaling | None:
        judgement = self._last_judgement(experiment)
        if judgement is None or judgement[1].scaling is None:
            return None
        stored: Scaling = self._document(Scaling, judgement[1].scaling)
        return stored

    def class_table(
        self, experiment: str, arm: str, size: int, metric: Metric | None, target: str | None, test_set: str
    ) -> ClassTable:
        """The arm at a size over all seeds. Raises NotFound, NotFinished while a seed is missing, Invalid."""
        planned = self.planned(experiment)
        spec = planned.spec
        target = one_target(spec.targets, target)
        metric = metric or spec.evaluation.metrics[0]
        if metric not in spec.evaluation.metrics:
            raise NotFound(unknown("metric", metric, spec.evaluation.metrics))
        if (target, test_set) not in planned.plan.layout.splits:
            known = [name for at, name in planned.plan.layout.splits if at == target]
            raise NotFound(unknown(f"test set of target {target!r} called", test_set, known))
        labels = self.resolved(experiment).classes_of(target)
        reached = self._seeds(planned, target, arm, size, test_set)
        counts = count_predictions(self.finished, reached, metric, len(labels))
        baseline = spec.untouched
        untouched = None
        if baseline is not None:
            before = self._seeds(planned, target, baseline, 0, test_set)
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

    def _seeds(self, planned: Planned, target: str, arm: str, size: int, test_set: str) -> list[Tested]:
        steps = [
            entry.step
            for entry in planned.plan.layout.cells
            if (entry.cell.target, entry.cell.arm, entry.cell.size) == (target, arm, size)
        ]
        if not steps:
            raise NotFound(_nothing_measured(planned, target, arm, size))
        done = self.done(steps)
        if len(done) < len(set(steps)):
            raise NotFinished(f"{len(set(steps)) - len(done)} evaluations of {arm!r} at size {size} are still to come")
        found = read_all(self.finished.evaluated, steps)
        if any(exhausted(result) for result in found.values()):
            raise NotFound(f"arm {arm!r} has too few images for size {size} at target {target!r}")
        return [found[step].tests[test_set] for step in steps]

    def label_cards(self, experiment: str) -> LabelCards:
        """Of the arms whose labels are measured so far. Raises NotFound."""
        planned = self.planned(experiment)
        audits = planned.plan.layout.audits
        done = self.done({entry.step for entry in audits})
        cards = tuple(
            ArmLabels(target=entry.target, arm=entry.arm, card=self.finished.audited(entry.step))
            for entry in audits
            if entry.step in done
        )
        return LabelCards(
            experiment=experiment, judge=planned.spec.judge_encoder, cards=cards, sources=self._sources(planned)
        )

    def _sources(self, planned: Planned) -> tuple[SourcesOfTarget, ...]:
        probes = planned.plan.layout.probes
        done = self.done({entry.step for entry in probes})
        return tuple(
            SourcesOfTarget(target=entry.target, arms=entry.arms, probe=self.finished.probed(entry.step))
            for entry in probes
            if entry.step in done
        )

    def accounts(self, experiment: str) -> tuple[SourceAccount, ...]:
        """What came in of each source so far. Raises NotFound."""
        self.planned(experiment)
        return source_accounts(self.store, self.finished, sources_of_experiment(self.resolved(experiment)))

    def account(self, experiment: str) -> ExperimentAccount:
        """As `accounts`, with what is to be known of generated images."""
        sources = self.accounts(experiment)
        with self.store.read() as session:
            steps = finished_of_kinds(session, experiment, WITH_NOTES)
        return ExperimentAccount(
            experiment=experiment, sources=sources, generated=generation_notes(steps, self.finished)
        )

    def searches(self, experiment: str) -> SearchedQueries:
        """What its retrieval arms looked for in captions. Raises NotFound."""
        self.planned(experiment)
        with self.store.read() as session:
            steps = finished_of_kinds(session, experiment, (RETRIEVE_IMAGES.name,))
        return searched_queries(experiment, steps, self.finished.artifacts)

    def predictions(self, experiment: str) -> bytes:
        """A parquet file of every finished evaluation. Raises NotFound, or MissingObject where a result was lost."""
        return predictions_file(self._evaluations(experiment), self.finished)

    def manifest(self, experiment: str) -> ExperimentManifest:
        """Raises NotFound."""
        results = self.results(experiment)  # first, so that complete results never lack a training set
        accounts = self.accounts(experiment)
        with self.store.read() as session:
            steps = tuple(planned_steps(session, experiment))
        made = read_finished(self.finished.made, self.done([step.id for step in steps]))
        with self.store.read() as session:
            return manifest_of(session, experiment, self._evaluations(experiment), results, accounts, steps, made)

    def _evaluations(self, experiment: str) -> Evaluations:
        layout = self.planned(experiment).plan.layout
        return Evaluations(layout, read_all(self.finished.evaluated, self.done(layout.evaluations.values())))

    def recorded_training_set(self, experiment: str, cell: Cell) -> Digest | None:
        """The digest of what a run was trained on; None before it was tested. Raises NotFound."""
        step = self.planned(experiment).plan.layout.evaluations.get(cell)
        if step is None or not self.is_done(step):
            return None
        return self.finished.evaluated(step).training_set

    def curation_step(self, experiment: str, arm: str, target: str | None) -> tuple[str, StepId]:
        """The target meant (the only one if not named) and the step that curated the arm's images there."""
        planned = self.planned(experiment)
        target = one_target(planned.spec.targets, target)
        step = planned.plan.layout.curations.get((target, arm))
        if step is None:
            arms = [known for at, known in planned.plan.layout.curations if at == target]
            raise NotFound(unknown(f"training set at target {target!r} of an arm", arm, arms))
        return target, step

    def curated_pool(self, experiment: str, arm: str, target: str | None) -> tuple[str, StepId]:
        """As `curation_step`, of a step that has finished. Raises NotFinished."""
        target, step = self.curation_step(experiment, arm, target)
        self.curated(step, arm)
        return target, step

    def curated(self, step: StepId, arm: str) -> ImagesCurated:
        """What the step made of the arm's images. Raises NotFinished, or MissingObject where the result was lost."""
        if not self.is_done(step):
            raise NotFinished(f"the images of arm {arm!r} are not curated yet")
        return self.finished.curated(step)


def _nothing_measured(planned: Planned, target: str, arm: str, size: int) -> str:
    cells = [entry.cell for entry in planned.plan.layout.cells if entry.cell.target == target]
    if arm not in {cell.arm for cell in cells}:
        return unknown("arm", arm, [cell.arm for cell in cells])
    sizes = sorted({cell.size for cell in cells if cell.arm == arm})
    return f"arm {arm!r} has no size {size} at target {target!r}; it has {in_words(list(map(str, sizes)), 'and')}"


def _tested_splits(evaluations: Evaluations) -> set[StepId]:
    """The steps that ingested what the finished evaluations were tested on."""
    targets = {cell.target for cell, _ in evaluations}
    return {step for (target, _), step in evaluations.layout.splits.items() if target in targets}


def one_target(targets: Sequence[str], target: str | None) -> str:
    """The one that is named, or the only one there is. Raises NotFound, Invalid."""
    if target is None and len(targets) > 1:
        raise Invalid(f"name a target: {', '.join(targets)}", code="target_needed")
    if target is not None and target not in targets:
        raise NotFound(unknown("target", target, targets))
    return target or targets[0]
