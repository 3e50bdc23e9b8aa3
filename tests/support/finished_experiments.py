"""An experiment with results, without workers: manifests as the workers would have written them, with a known truth."""

import io
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel
from sqlalchemy import select
from support.memory_services import finish_steps, memory_services
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_api.submission import submit_experiment, submit_upstream
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.curation import CurationCounts, CurationReport, ScoreHistogram
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import derive_seed, sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.inputs import inputs_of
from touchstone_contracts.label_card import (
    CaptionNames,
    ClassBalance,
    Distribution,
    Diversity,
    JudgeAgreement,
    LabelCard,
    SeveralLabels,
    TestSimilarity,
)
from touchstone_contracts.layout import Cell
from touchstone_contracts.messages import Environment, StepManifest
from touchstone_contracts.recipes.optimisation import Optimisation
from touchstone_contracts.source_probe import Reliance, SourceProbe
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    EVALUATE_ENCODER,
    JUDGE_EXPERIMENT,
    AdaptEncoder,
    EncoderAdapted,
    EncoderEvaluated,
    EpochScore,
    EvaluateEncoder,
    ExperimentJudged,
    ImagesCurated,
    ImagesIngested,
    JudgeExperiment,
    PoolAudited,
    Predictions,
    SourcesProbed,
    SplitsCompared,
    TargetChecked,
    Tested,
)
from touchstone_contracts.values import Lenient, StepId
from touchstone_judge.tasks import Tools, judge_experiment
from touchstone_planning import transitions
from touchstone_planning.dag import Plan
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_runtime.artifacts import Artifacts, blobs_in
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter, with_all_columns
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import no_progress
from touchstone_runtime.training_sets import Pool, draw_training_set, kept_pool, largest_size, training_set_digest
from touchstone_store.catalogue import register
from touchstone_store.layouts import upstream_layout, upstream_plan_id
from touchstone_store.plans import StepChange, save_steps
from touchstone_store.steps import find_rows, to_step
from touchstone_store.tables import PlanStepRow, StepRow

TEST_IMAGES = 200
CLASSES = 3
COLOURS = ("#d1495b", "#2e86ab", "#66a182")

ON_CPU = Environment(
    python="3.11.7",
    system="Linux 6.1 x86_64",
    cpu="Some Processor 7",
    cpus=8,
    device="cpu",
    packages={"numpy": "2.2.1", "pyarrow": "21.0.0"},
)
ON_GPU = ON_CPU.model_copy(update={"device": "Some Card", "packages": {"numpy": "2.2.1", "torch": "2.9.0+cu128"}})
TRAINED = (ADAPT_ENCODER.name, EVALUATE_ENCODER.name)
"""Kinds of steps that were done with a GPU."""

Truth = Callable[[Cell, str], float]
"""The probability that (cell, metric) classifies a test image correctly."""


Chosen = Mapping[str, float]
"""The learning rate that an arm chose; arms left out take the first of the grid."""


def rising_truth(cell: Cell, metric: str) -> float:
    """Retrieved images teach more than synthetic ones at every size; both more than nothing."""
    level = {"none": 0.45, "retrieved": 0.62, "synthetic": 0.54}[cell.arm]
    rise = 0.05 * math.log2(max(cell.size, 6) / 6) + (0.08 if metric == "linear_probe" else 0.0)
    return min(0.98, level + rise)


@dataclass
class Told:
    """An experiment in the store, and what was made up about it."""

    id: str
    plan: Plan
    spec: ExperimentSpec


def finished_on_memory(folder: Path) -> tuple[Services, MemoryObjects, Told]:
    """An api without servers that has a finished experiment."""
    objects = MemoryObjects()
    services = memory_services(folder, Artifacts(objects))
    told = post_experiment(services)
    finish_experiment(services, told)
    return services, objects, told


def post_experiment(
    services: Services,
    experiment: ExperimentSpec | None = None,
    further_tests: Sequence[str] = (),
    lookup: DictLookup | None = None,
) -> Told:
    """Registers the catalogue of support.specs, unless there is another, and submits the experiment."""
    lookup = lookup or DictLookup(further_tests)
    register_all(services, lookup)
    return post(services, experiment or spec(seeds=(0, 1, 2)), lookup)


def register_all(services: Services, lookup: DictLookup) -> None:
    with services.store.write() as session:
        for kind in (lookup.encoders, lookup.generators, lookup.targets, lookup.datasets):
            for entry in kind.values():
                register(session, entry, DEFAULT_PROJECT, datetime.now(UTC))
    for upstream in lookup.upstreams.values():
        submit_upstream(services, DEFAULT_PROJECT, upstream)


def post(services: Services, experiment: ExperimentSpec, lookup: DictLookup) -> Told:
    """Submits an experiment whose names are registered."""
    submitted = submit_experiment(services, DEFAULT_PROJECT, experiment)
    with services.store.read() as session:
        upstream = upstream_layout(session, upstream_plan_id(experiment.upstream))
    return Told(submitted.id, plan_experiment(resolve(experiment, lookup), upstream), experiment)


def finish_experiment(
    services: Services,
    told: Told,
    *,
    truth: Truth = rising_truth,
    exhausted: frozenset[tuple[str, int]] = frozenset(),
    chosen: Chosen | None = None,
    agreeing: Mapping[str, int] | None = None,
) -> None:
    """Every step succeeds; `exhausted`: (arm, size) that found too few images, at every target."""
    finish_steps(services, upstream_plan_id(told.spec.upstream))
    kinds = {step.id: step.kind for step in told.plan.steps}
    results = made_up_results(services.artifacts, told, truth, exhausted, chosen or {}, agreeing)
    stored = {step: write_result(services.artifacts, step, kinds[step], result) for step, result in results.items()}
    for step, request in judgements(told.plan).items():
        measured = {needed: stored[needed].result for needed in inputs_of(request) if needed in stored}
        stored[step] = write_result(services.artifacts, step, kinds[step], judged_once(services, request, measured))
    finish_steps(services, told.id, stored)


def finish_only(services: Services, told: Told, steps: dict[StepId, Lenient]) -> None:
    """Some steps succeed, and what these suffice to judge is judged; the others wait."""
    kinds = {step.id: step.kind for step in told.plan.steps}
    now = datetime.now(UTC)
    manifests = {step: write_result(services.artifacts, step, kinds[step], result) for step, result in steps.items()}
    for step, request in judgements(told.plan).items():
        if set(inputs_of(request)) <= set(steps):
            manifests[step] = write_result(services.artifacts, step, kinds[step], judged(services, request))
    with services.store.write() as session:
        rows = find_rows(session, list(manifests), lock=True)
        changes = [StepChange(row, transitions.succeed(to_step(row), now, manifests[row.id])) for row in rows.values()]
        save_steps(session, changes, now)


def hand_out(services: Services, steps: Collection[StepId]) -> None:
    """Workers are at these from now on."""
    now = datetime.now(UTC)
    with services.store.write() as session:
        rows = find_rows(session, list(steps), lock=True)
        changes = [StepChange(row, transitions.lease(to_step(row), now, transitions.Limits())) for row in rows.values()]
        save_steps(session, changes, now)


def judge_stored(services: Services, plan: str) -> int:
    """Judges what the stored steps of a plan ask for. How many that were."""
    with services.store.read() as session:
        rows = session.execute(
            select(StepRow.id, StepRow.kind, StepRow.request)
            .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
            .where(PlanStepRow.plan_id == plan, StepRow.kind == JUDGE_EXPERIMENT.name)
        ).all()
    now = datetime.now(UTC)
    manifests = {
        step: write_result(services.artifacts, step, kind, judged(services, JudgeExperiment.model_validate(request)))
        for step, kind, request in rows
    }
    with services.store.write() as session:
        found = find_rows(session, list(manifests), lock=True)
        changes = [StepChange(row, transitions.succeed(to_step(row), now, manifests[row.id])) for row in found.values()]
        save_steps(session, changes, now)
    return len(manifests)


def judgements(plan: Plan) -> dict[StepId, JudgeExperiment]:
    return {step.id: step.request for step in plan.steps if isinstance(step.request, JudgeExperiment)}


def judged(services: Services, request: JudgeExperiment) -> ExperimentJudged:
    """As the judge's worker answers."""
    tools = Tools(services.artifacts, FinishedSteps(services.artifacts))
    # Progress is called with (done, total), as by the function that stands in for it.
    return judge_experiment(request, tools, no_progress)  # type: ignore[arg-type]


ONCE = Artifacts(MemoryObjects())
"""What is made up over and over is made once in a process and copied from here."""
JUDGED: dict[str, ExperimentJudged] = {}
Result = TypeVar("Result", bound=BaseModel)


def judged_once(services: Services, request: JudgeExperiment, measured: Mapping[str, Any]) -> ExperimentJudged:
    """The same measurements get the same verdict: most tests ask for that of support.specs."""
    question = sha256(json.dumps([request.model_dump(mode="json"), measured], sort_keys=True).encode())
    if question not in JUDGED:
        JUDGED[question] = copied(judged(services, request), services.artifacts, ONCE)
    return copied(JUDGED[question], ONCE, services.artifacts)


def copied(result: Result, source: Artifacts, target: Artifacts) -> Result:
    """With the blobs it names."""
    for blob in blobs_in(result):
        target.put_blob(source.get_blob(blob))
    return result


def write_result(artifacts: Artifacts, step: StepId, kind: str, result: Lenient) -> StepManifest:
    environment = ON_GPU if kind in TRAINED else ON_CPU
    facts: dict[str, Any] = {"seconds": 1.0, "cpu_seconds": 0.5, "worker": "test", "environment": environment}
    blobs = tuple(blobs_in(result))
    manifest = StepManifest(
        step_id=step, kind=kind, version=1, result=result.model_dump(mode="json"), blobs=blobs, **facts
    )
    artifacts.write_manifest(manifest)
    return manifest


def made_up_results(
    artifacts: Artifacts,
    told: Told,
    truth: Truth = rising_truth,
    exhausted: frozenset[tuple[str, int]] = frozenset(),
    chosen: Chosen | None = None,
    agreeing: Mapping[str, int] | None = None,
) -> dict[StepId, Lenient]:
    """The results that pages and statistics are made of, by step. `agreeing`: of an arm's 21 labels, where it is not
    18, and an experiment that names a judge."""
    results: dict[StepId, Lenient] = {
        step: ImagesIngested(images=_split(artifacts)) for step in told.plan.tests.values()
    }
    results |= {step: ImagesIngested(images=_split(artifacts, "validation")) for step in told.plan.validations.values()}
    results |= {step: TargetChecked() for step in told.plan.checks.values()}
    results |= {step: SplitsCompared(cosine=0.95) for step in told.plan.likenesses.values()}
    for (target, arm), step in told.plan.curations.items():
        results[step] = _curated(artifacts, target, arm)
    for (_, arm), step in told.plan.audits.items():
        results[step] = PoolAudited(card=_label_card((agreeing or {}).get(arm, 18), told.spec))
    for step in told.plan.probes.values():
        results[step] = SourcesProbed(probe=_source_probe())
    drawn_by = TrainingSetsDrawn(artifacts, results)
    for cell, step in told.plan.evaluations.items():
        gone = (cell.arm, cell.size) in exhausted
        assert isinstance(told.spec.recipe, Optimisation)  # others have no learning rate to choose
        rate = (chosen or {}).get(cell.arm, told.spec.recipe.learning_rates[0])
        tests = [test_set for target, test_set in told.plan.tests if target == cell.target]
        classes = len(told.plan.step(step).request.classes)  # type: ignore[attr-defined]
        evaluated = _evaluated(artifacts, cell, tests, told.spec, truth, rate, classes)
        evaluated = evaluated.model_copy(update={"training_set": drawn_by.digest(told.plan, step, cell.seed)})
        results[step] = EncoderEvaluated(available=7) if gone else evaluated
        results |= _adapted(artifacts, told.plan, cell, step, rate)
    return results


def _split(artifacts: Artifacts, name: str = "test") -> ImageSet:
    return copied(_split_once(name), ONCE, artifacts)


@cache
def _split_once(name: str) -> ImageSet:
    """Nobody looks at test images here, only at how many there are and what they are called."""
    writer = ImageSetWriter(ONCE)
    for number in range(TEST_IMAGES):
        record = ImageRecord(width=1, height=1, source_kind="target", source_key=f"{name}-{number}", class_id=0)
        writer.add(b"picture", record)
    return writer.finish()


def _adapted(artifacts: Artifacts, plan: Plan, cell: Cell, evaluation: StepId, chosen: float) -> dict[StepId, Lenient]:
    """On validation every arm reaches 70 % at the rate it chose and 50 % at any other."""
    request = plan.step(evaluation).request
    assert isinstance(request, EvaluateEncoder)
    return {
        adaptation.step: EncoderAdapted(
            available=cell.size,
            weights=artifacts.put_blob(f"weights of {adaptation.step}".encode()),
            epochs=(
                EpochScore(
                    epoch=1, train_loss=1.0, validation_accuracy=0.7 if adaptation.learning_rate == chosen else 0.5
                ),
            ),
        )
        for adaptation in request.adaptations
    }


class TrainingSetsDrawn:
    """Draws from made-up pools as the trainer does."""

    def __init__(self, artifacts: Artifacts, results: Mapping[StepId, Lenient]) -> None:
        self._artifacts, self._results = artifacts, results
        self._pools: dict[StepId, Pool] = {}

    def digest(self, plan: Plan, evaluation: StepId, seed: int) -> str | None:
        """Of what an evaluation's run was trained on; None for the untouched encoder and where the pool is too
        small."""
        request = plan.step(evaluation).request
        assert isinstance(request, EvaluateEncoder)
        step = next((each.step for each in request.adaptations if each.seed == seed), None)
        if step is None:
            return None
        run = plan.step(step).request
        assert isinstance(run, AdaptEncoder)
        pool = self._pool(run.pool)
        if run.size > largest_size(pool, run.mixing):
            return None
        return training_set_digest(pool, draw_training_set(pool, run.size, run.subset_seed, run.rules, run.mixing))

    def _pool(self, step: StepId) -> Pool:
        if step not in self._pools:
            curated = self._results[step]
            assert isinstance(curated, ImagesCurated)
            self._pools[step] = kept_pool(with_all_columns(self._artifacts.get_table(curated.images.manifest)))
        return self._pools[step]


def _evaluated(
    artifacts: Artifacts,
    cell: Cell,
    test_sets: Sequence[str],
    experiment: ExperimentSpec,
    truth: Truth,
    chosen: float,
    classes: int,
) -> EncoderEvaluated:
    rate = None if cell.arm == "none" else chosen
    main, *further = (_tested(artifacts, cell, test_set, experiment, truth, classes) for test_set in test_sets)
    return EncoderEvaluated(
        learning_rate=rate,
        validation_accuracy=None if rate is None else 0.7,
        predictions=main.predictions,
        labels=main.labels,
        further_tests=dict(zip(test_sets[1:], further, strict=True)),
    )


def _tested(
    artifacts: Artifacts, cell: Cell, test_set: str, experiment: ExperimentSpec, truth: Truth, count: int
) -> Tested:
    """Of another domain than the main test set's a tenth fewer images are right."""
    main = test_set == MAIN_TEST_SET
    labels = (np.arange(TEST_IMAGES) % count).astype(np.int32)
    predictions = {}
    for metric in experiment.evaluation.metrics:
        domain = (metric,) if main else (metric, test_set)
        # What an image is like is the same for all arms (pairing), the rest is the cell's own.
        hardness = np.random.default_rng(derive_seed(cell.target, *domain)).normal(size=TEST_IMAGES)
        rng = np.random.default_rng(derive_seed(cell.target, cell.arm, cell.size, cell.seed, *domain))
        wanted = truth(cell, metric) * (1 if main else 0.9) + rng.normal(scale=0.01)
        noisy = hardness + 0.7 * rng.normal(size=TEST_IMAGES)
        right = noisy <= np.quantile(noisy, min(1.0, max(0.0, wanted)))
        classes = np.where(right, labels, (labels + 1) % count).astype(np.int32)
        accuracy = float((classes == labels).mean())
        predictions[metric] = Predictions(classes=artifacts.put_array(classes), accuracy=accuracy)
    return Tested(predictions=predictions, labels=artifacts.put_array(labels))


def _curated(artifacts: Artifacts, target: str, arm: str) -> ImagesCurated:
    images = _image_set(artifacts, target, arm, 30)
    counts = CurationCounts(requested=40, obtained=30, leaked=1, near_duplicate=2, filtered=6, over_cap=0, kept=21)
    report = CurationReport(
        obtained_by_class=(10, 11, 9),
        dropped_by_class={"leaked": (1, 0, 0), "near_duplicate": (0, 2, 0), "filtered": (2, 2, 2)},
        kept_by_class=(7, 7, 7),
        class_coverage=1.0,
        scores=ScoreHistogram(edges=(0.2, 0.21, 0.22, 0.23), obtained=(10, 12, 8), kept=(4, 9, 8)),
    )
    return ImagesCurated(images=images, counts=counts, kept_by_class=(7, 7, 7), report=report)


def _source_probe() -> SourceProbe:
    """The encoder that was adapted on the first arm relies on what tells the arms apart, the others do not."""
    by_chance = Reliance(accuracy=0.45, change=-0.002, random_low=-0.01, random_high=0.009, p_value=0.408)
    return SourceProbe(
        images=200,
        auc=0.913,
        auc_error=0.021,
        untouched=by_chance,
        adapted=(by_chance.model_copy(update={"change": -0.071, "p_value": 0.005}), by_chance),
    )


def _label_card(agreeing: int, experiment: ExperimentSpec) -> LabelCard:
    by_class = tuple(agreeing // CLASSES for _ in range(CLASSES))
    return LabelCard(
        images=21,
        agreement=JudgeAgreement(
            images=21, agreeing=agreeing, images_by_class=(7, 7, 7), agreeing_by_class=by_class, judge_accuracy=0.9
        )
        if experiment.judge_encoder
        else None,
        captions=CaptionNames(images=21, own=19, other=1),
        labels=SeveralLabels(images=21, several=0),
        balance=tuple(
            ClassBalance(size=size, fewest=1, median=size / 3, most=7, short=1, empty=0)
            for size in experiment.sizes
            if size <= 21
        ),
        diversity=Diversity(classes=3, mean_cosine=0.5, mean_nearest_cosine=0.7),
        test_similarity=TestSimilarity(cosine_quantiles={"0.5": 0.6, "0.95": 0.8, "1": 0.9}),
        distribution=Distribution(
            images=21,
            test_images=TEST_IMAGES,
            discrepancy=0.0312,
            discrepancy_error=0.0021,
            floor=0.0043,
            density=0.87,
            coverage=0.64,
            expected_coverage=0.97,
        ),
    )


def _image_set(artifacts: Artifacts, target: str, purpose: str, count: int) -> ImageSet:
    writer = ImageSetWriter(artifacts)
    for number in range(count):
        class_id = number % CLASSES
        dropped = "filtered" if number % 5 == 4 else ""
        writer.add(
            picture(target, purpose, number),
            ImageRecord(
                width=32,
                height=32,
                class_id=class_id,
                source_kind="generated" if purpose == "synthetic" else "upstream",
                source_key=f"{purpose}-{number}",
                caption=f"an icon of <thing> {class_id} & friends",
                found_by="text_match/phrase/0" if purpose == "retrieved" else "",
                query=f"thing {class_id}" if purpose == "retrieved" else "",
                part=number % 2 if purpose == "mixed" else -1,
                score=0.2 + number / 1000,
                kept=not dropped,
                drop_reason=dropped,
            ),
        )
    return writer.finish()


@cache
def picture(target: str, purpose: str, number: int) -> bytes:
    """32 x 32, different for every (target, purpose, number)."""
    rng = np.random.default_rng(derive_seed(target, purpose, number))
    image = Image.new("RGB", (32, 32), _colour(rng))
    x, y, size = (int(v) for v in rng.integers(3, 12, 3))
    box = (x, y, x + size + 8, y + size + 8)
    draw = ImageDraw.Draw(image)
    shape = (draw.ellipse, draw.rectangle, draw.rounded_rectangle)[number % CLASSES]
    shape(box, fill=COLOURS[number % CLASSES], outline="black" if purpose == "synthetic" else None)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in rng.integers(200, 256, 3))
    return red, green, blue
