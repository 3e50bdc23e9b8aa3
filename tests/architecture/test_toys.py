"""An arm, a recipe, a score rule, a stage of curation and a metric that this module alone knows run like Touchstone's
own.

What registers a toy says in its docstring what adding one of its kind takes; CONTRIBUTING.md says the same."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.specs import DictLookup
from support.tiny_images import SHAPES, tiny_target, tiny_upstream
from support.tiny_models import tiny_encoder
from support.whole_plan import Workers, workers_on
from torch import nn
from touchstone_contracts.adaptation import METRICS, MetricDescription
from touchstone_contracts.arms.spec import ARMS, ArmSpec
from touchstone_contracts.catalogue import ClassLabel, Target
from touchstone_contracts.curation import SCORE_RULES, STAGES, ScoreRuleSpec, StageSpec, drop_words
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes import RECIPES
from touchstone_contracts.recipes.spec import RecipeSpec, TrainingWork
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CURATE_IMAGES,
    EVALUATE_ENCODER,
    JUDGE_EXPERIMENT,
    EncoderAdapted,
    EncoderEvaluated,
    EpochScore,
    ImagesCurated,
)
from touchstone_contracts.values import Name
from touchstone_contracts.views import Verdict
from touchstone_planning.arms.planner import CuratedPlanner, Source, forget_planner, planner_of, register_planner
from touchstone_planning.dag import Plan, PlannedImages, PoolOf, TargetContext
from touchstone_planning.estimate import workload
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_retrieval.curation.candidates import Candidates
from touchstone_retrieval.curation.filters import RULE_FUNCTIONS
from touchstone_retrieval.curation.stages import STAGE_FUNCTIONS
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.probes import METRIC_HEADS, Head, Probes
from touchstone_trainer.recipes.class_mean_head import mean_directions, start_from_class_means
from touchstone_trainer.recipes.gradient import Run
from touchstone_trainer.recipes.loop import Adapted
from touchstone_trainer.recipes.registry import RECIPE_FUNCTIONS
from touchstone_trainer.recipes.subject import Data, Subject

ROOT = Path(__file__).parents[2]
PER_CLASS = 6
KEPT_PER_CLASS = 2


class SecondHand(ArmSpec):
    """The candidates of another arm are curated once more: what its curation saw, whatever it kept."""

    kind: Literal["second_hand"] = "second_hand"
    parent: Name


class SecondHandPlanner(CuratedPlanner[SecondHand]):
    spec = SecondHand

    def describe(self, arm: SecondHand) -> str:
        return f"what {arm.parent} was chosen from, curated again"

    def sources(self, arm: SecondHand) -> Iterator[Source]:
        yield Source("/parent", arm.parent, ("images", "unmixed"))

    def most_candidates(self, arm: SecondHand, target: Target, resolved: ResolvedExperiment) -> int:
        parent = resolved.arm(arm.parent)
        return planner_of(parent).most_candidates(parent, target, resolved)

    def most_images(self, arm: SecondHand, target: Target, resolved: ResolvedExperiment) -> int:
        parent = resolved.arm(arm.parent)
        return planner_of(parent).most_images(parent, target, resolved)

    def plan_candidates(
        self, arm: SecondHand, context: TargetContext, role: str, pool_of: PoolOf
    ) -> list[PlannedImages]:
        return [PlannedImages(pool_of(arm.parent), role)]


PLANNER = SecondHandPlanner()


@contextmanager
def toy_arm() -> Iterator[None]:
    """Adding a kind of arm:

    - `libs/contracts/src/touchstone_contracts/arms/`: a file with an `ArmSpec` (its settings), and a line in
      `__init__.py`.
    - `libs/planning/src/touchstone_planning/arms/`: a file with an `ArmPlanner` (its words, what it needs, what is
      impossible, how many images it can have, the steps it takes), and a line in `__init__.py`.

    If it takes a step of a new kind:

    - `libs/contracts/src/touchstone_contracts/steps.py`: request, result and contract, and a line in `CATALOGUE`.
    - `tests/contract/published/`: a sample of its message and result.
    - `services/`: a handler in the `tasks.py` of the service that does the work.
    """
    ARMS.register(SecondHand)
    register_planner(PLANNER)
    try:
        yield
    finally:
        forget_planner(PLANNER)
        ARMS.forget(SecondHand)


class ClassMeans(RecipeSpec):
    """The head is the class means of the training images: no update, no learning rate."""

    kind: Literal["class_means"] = "class_means"
    needs_text_tower: ClassVar[bool] = False

    def runs(self) -> Iterator[tuple[float | None, Self]]:
        yield None, self

    def work(self, size: int, validation: int) -> TrainingWork:
        return TrainingWork(updates=0, images_trained=0, images_evaluated=size + validation)


def take_class_means(subject: Subject, data: Data, recipe: ClassMeans, run: Run) -> Adapted:
    start_from_class_means(subject, data, run.progress)
    head = subject.classifier.head
    right = accuracy(predict(head, embed_split(subject.classifier, data.validation)), data.validation.class_ids)
    return Adapted(
        weights={f"head.{name}": value.cpu().contiguous() for name, value in head.state_dict().items()},
        best_epoch=1,
        epochs=(EpochScore(epoch=1, train_loss=0.0, validation_accuracy=right),),
        updates=0,
        peak_lr_fraction=None,
    )


@contextmanager
def toy_recipe() -> Iterator[None]:
    """Adding a recipe:

    - `libs/contracts/src/touchstone_contracts/recipes/`: a file with a `RecipeSpec` (its settings, what it needs of
      encoders and targets, what a run costs), and a line in `__init__.py`.
    - `services/trainer/src/touchstone_trainer/recipes/`: a file with a `Learner` for `ByGradient`, or with a function
      that returns `Adapted`, and a line in `registry.py`.
    """
    RECIPES.register(ClassMeans)
    RECIPE_FUNCTIONS.register(ClassMeans, take_class_means)
    try:
        yield
    finally:
        RECIPE_FUNCTIONS.forget(ClassMeans)
        RECIPES.forget(ClassMeans)


class KeepWorst(ScoreRuleSpec):
    """The `images` with the lowest score of each class."""

    kind: Literal["keep_worst"] = "keep_worst"
    dropped_words: ClassVar[str] = "too good"
    images: int

    def most_kept(self, candidates: int) -> int:
        return min(self.images, candidates)


def keep_worst(rule: KeepWorst, scores: np.ndarray, class_ids: np.ndarray, classes: Sequence[ClassLabel]) -> np.ndarray:
    keep = np.zeros(len(scores), dtype=bool)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        keep[members[np.argsort(scores[members], kind="stable")[: rule.images]]] = True
    return keep


@contextmanager
def toy_score_rule() -> Iterator[None]:
    """Adding a score rule:

    - `libs/contracts/src/touchstone_contracts/curation.py`: a `ScoreRuleSpec` (its settings, the words for what it
      drops, how much it may leave), and a line where the others are registered. Beside other rules its drop reason is
      `filtered/<kind>`.
    - `services/retrieval/src/touchstone_retrieval/curation/filters.py`: a function from scores to which images stay,
      and a line where the others are registered.
    """
    SCORE_RULES.register(KeepWorst)
    RULE_FUNCTIONS.register(KeepWorst, keep_worst)
    try:
        yield
    finally:
        RULE_FUNCTIONS.forget(KeepWorst)
        SCORE_RULES.forget(KeepWorst)


class EveryOther(StageSpec):
    kind: Literal["every_other"] = "every_other"
    words: ClassVar[str] = "Every other"


def keep_every_other(stage: EveryOther, candidates: Candidates) -> np.ndarray:
    return np.arange(len(candidates.image_ids)) % 2 == 0


@contextmanager
def toy_stage() -> Iterator[None]:
    """Adding a stage of curation:

    - `libs/contracts/src/touchstone_contracts/curation.py`: a `StageSpec` (its settings, the heading of its column),
      and a line below `STAGES`. The drop reason is its kind; a spec asks for it in `curation.stages`.
    - `services/retrieval/src/touchstone_retrieval/curation/`: a file with a function from candidates to which images
      stay, and a line below `STAGE_FUNCTIONS` in `stages.py`.
    """
    STAGES.register(EveryOther)
    STAGE_FUNCTIONS.register(EveryOther, keep_every_other)
    try:
        yield
    finally:
        STAGE_FUNCTIONS.forget(EveryOther)
        STAGES.forget(EveryOther)


def head_of_validation_means(probes: Probes) -> Head:
    split = probes.embed(probes.request.validation)
    means = mean_directions(split.features, split.class_ids, len(probes.request.classes))
    layer = nn.Linear(means.shape[1], len(means), bias=False).requires_grad_(False)
    layer.weight.copy_(means)
    return Head(layer)


@contextmanager
def toy_metric() -> Iterator[None]:
    """Adding a metric:

    - `libs/contracts/src/touchstone_contracts/adaptation.py`: a line with a `MetricDescription` (its words, what it
      needs of encoders and targets).
    - `services/trainer/src/touchstone_trainer/probes.py`: a function that fits the head, and a line where the others
      are registered.
    """
    METRICS.register("nearest_mean", MetricDescription("nearest-mean accuracy", "NM"))
    METRIC_HEADS.register("nearest_mean", head_of_validation_means)
    try:
        yield
    finally:
        METRIC_HEADS.forget("nearest_mean")
        METRICS.forget("nearest_mean")


Toy = Callable[[], AbstractContextManager[None]]
TOYS: tuple[Toy, ...] = (toy_arm, toy_recipe, toy_score_rule, toy_stage, toy_metric)
ASKED: dict[str, Any] = {
    "arms": [
        {"kind": "none"},
        {"kind": "target_train"},
        {"kind": "second_hand", "name": "again", "parent": "target_train"},
    ],
    "recipe": {"kind": "class_means"},
    "curation": {
        "filter": {"kind": "keep_worst", "images": KEPT_PER_CLASS},
        "stages": [{"kind": "every_other"}],
        "near_duplicate_cosine": None,
        "leak_cosine": None,
    },
    "evaluation": {"metrics": ["nearest_mean", "linear_probe"]},
}


def study(**changes: Any) -> dict[str, Any]:
    return {
        "name": "toys",
        "upstream": "tiny",
        "encoder": "tiny-clip",
        "targets": ["shapes"],
        "arms": [
            {"kind": "none"},
            {"kind": "target_train"},
            {"kind": "retrieval", "name": "retrieved", "strategy": {"kind": "text_match"}},
        ],
        "sizes": [4],
        "seeds": [0, 1],
        **changes,
    }


@dataclass(frozen=True)
class Finished:
    """The experiment with every toy, planned and carried out."""

    resolved: ResolvedExperiment
    plan: Plan
    workers: Workers

    def curated(self, arm: str) -> ImagesCurated:
        return self.workers.artifacts.result(CURATE_IMAGES, self.plan.curations["shapes", arm])

    def evaluated(self) -> list[EncoderEvaluated]:
        return [self.workers.artifacts.result(EVALUATE_ENCODER, step) for step in self.plan.evaluations.values()]

    def adapted(self) -> list[EncoderAdapted]:
        steps = [step.id for step in self.plan.steps if step.contract == ADAPT_ENCODER]
        return [self.workers.artifacts.result(ADAPT_ENCODER, step) for step in steps]


@contextmanager
def registered() -> Iterator[None]:
    with ExitStack() as stack:
        for toy in TOYS:
            stack.enter_context(toy())
        yield


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    library, lookup = tmp_path_factory.mktemp("library"), DictLookup()
    lookup.encoders = {"tiny-clip": tiny_encoder(library)}
    lookup.upstreams = {"tiny": tiny_upstream(library)}
    lookup.targets = {"shapes": tiny_target(library, per_class=PER_CLASS, train=True)}
    torch.set_num_threads(1)
    with registered(), workers_on(library, library / "index") as workers:
        resolved = resolve(ExperimentSpec.model_validate(study(**ASKED)), lookup)
        check_fair(resolved)
        plan = plan_experiment(resolved)
        workers.carry_out(plan)
    return Finished(resolved, plan, workers)


@pytest.fixture
def finished(carried_out: Finished) -> Iterator[Finished]:
    with registered():
        yield carried_out


def test_the_toy_recipe_trains_every_cell_and_costs_what_it_says(finished: Finished) -> None:
    adapted = finished.adapted()
    assert len(adapted) == 2 * 2  # arms that train x seeds
    assert {(result.updates, result.peak_lr_fraction, result.images) for result in adapted} == {(0, None, 4)}
    assert len({result.training_set for result in adapted}) == 2  # the arms' pools hold the same images, so draws agree
    work = workload(finished.resolved, finished.plan)
    assert (work.adaptations, work.updates, work.images_trained) == (4, 0, 0)


@pytest.mark.parametrize("arm", ["target_train", "again"])
def test_the_toy_stage_and_rule_drop_images_and_are_counted(finished: Finished, arm: str) -> None:
    obtained = len(SHAPES) * PER_CLASS
    curated = finished.curated(arm)
    counts, report = curated.counts, curated.report
    assert report is not None
    assert (counts.obtained, counts.further) == (obtained, {"every_other": obtained // 2})
    assert counts.dropped["every_other"] == obtained // 2
    assert counts.obtained == counts.kept + sum(counts.dropped.values())
    assert max(curated.kept_by_class) == KEPT_PER_CLASS
    assert set(report.dropped_by_class) == {"every_other", "filtered"}
    reasons = finished.workers.artifacts.get_table(curated.images.manifest)["drop_reason"].to_pylist()
    assert reasons.count("every_other") == counts.further["every_other"]
    assert reasons.count("filtered") == counts.filtered > 0
    assert ExperimentSpec.model_validate(finished.resolved.spec.model_dump(mode="json")) == finished.resolved.spec


def test_the_toy_arm_is_planned_curated_trained_and_compared(finished: Finished) -> None:
    made_of, again = (finished.plan.curations["shapes", arm] for arm in ("target_train", "again"))
    (embedding,) = [step for step in finished.plan.steps if step.role == "shapes/again/embed"]
    assert embedding.inputs == (made_of,)
    assert embedding.id in finished.plan.step(again).inputs
    assert finished.curated("again").counts.obtained == finished.curated("target_train").counts.obtained
    judged = finished.workers.artifacts.result(JUDGE_EXPERIMENT, finished.plan.judgements[-1].step)
    assert judged.verdict is not None
    verdict = Verdict.model_validate_json(finished.workers.artifacts.get_blob(judged.verdict))
    assert (verdict.a, verdict.b) == ("target_train", "again")


@pytest.mark.parametrize(
    ("arms", "reason"),
    [
        ([{"kind": "second_hand", "name": "again", "parent": "nobody"}], "no arm named 'nobody'"),
        ([{"kind": "none"}, {"kind": "second_hand", "name": "again", "parent": "none"}], "yields no images"),
        ([{"kind": "second_hand", "name": "again", "parent": "again"}], "made from itself"),
    ],
)
def test_the_rules_of_all_arms_hold_for_the_toy_arm(arms: list[dict[str, Any]], reason: str) -> None:
    with registered():
        lookup = DictLookup()
        spec = study(arms=arms, upstream="world", encoder="clip", targets=["fine"])
        with pytest.raises(Invalid, match="refers to what is not there") as refusal:
            check_fair(resolve(ExperimentSpec.model_validate(spec), lookup))
    assert reason in refusal.value.errors[0].detail


def test_the_toy_metric_has_predictions_of_its_own(finished: Finished) -> None:
    evaluations = finished.evaluated()
    assert len(evaluations) == 2 + 2 * 2  # untouched, and arms that train, x seeds
    for result in evaluations:
        assert list(result.predictions) == ["nearest_mean", "linear_probe"]
        assert result.labels is not None
        labels, found = finished.workers.artifacts.get_array(result.labels), result.predictions["nearest_mean"]
        predicted = finished.workers.artifacts.get_array(found.classes)
        assert len(predicted) == len(SHAPES) * PER_CLASS
        assert float((predicted == labels).mean()) == found.accuracy


def test_the_verdict_is_in_the_toy_metric(finished: Finished) -> None:
    judged = finished.workers.artifacts.result(JUDGE_EXPERIMENT, finished.plan.judgements[-1].step)
    assert judged.verdict is not None
    verdict = Verdict.model_validate_json(finished.workers.artifacts.get_blob(judged.verdict))
    assert verdict.primary.metric == "nearest_mean"
    assert "nearest-mean accuracy" in verdict.headline


def test_toys_have_their_words_where_others_have(finished: Finished) -> None:
    words = drop_words()
    assert words["every_other"] == "Every other"
    assert words["filtered/keep_worst"] == "Filtered: too good"
    assert list(words)[4:6] == ["every_other", "label_conflict"]
    assert METRICS["nearest_mean"].words == "nearest-mean accuracy"


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"arms": ASKED["arms"]}, "'second_hand'.*'none', 'retrieval'"),
        ({"recipe": ASKED["recipe"]}, "'class_means'.*'cross_entropy', 'contrastive'"),
        ({"curation": {"filter": {"kind": "keep_worst", "images": 2}}}, "'keep_worst'.*'keep_top_fraction'"),
        ({"curation": {"stages": [{"kind": "every_other"}]}}, "'every_other'"),
        ({"evaluation": ASKED["evaluation"]}, "'zero_shot', 'linear_probe' or 'regularised_probe'"),
    ],
    ids=["arm", "recipe", "score rule", "stage", "metric"],
)
def test_a_spec_that_asks_for_what_is_not_registered_is_refused(changes: dict[str, Any], known: str) -> None:
    with pytest.raises(ValidationError, match=known):
        ExperimentSpec.model_validate(study(**changes))


@pytest.mark.parametrize(
    ("look_up", "code"),
    [
        (lambda: RECIPE_FUNCTIONS.of(ClassMeans()), "unknown_recipe"),
        (lambda: RULE_FUNCTIONS.of(KeepWorst(images=1)), "unknown_score_rule"),
        (lambda: STAGE_FUNCTIONS.of(EveryOther()), "unknown_curation_stage"),
        (lambda: METRIC_HEADS["nearest_mean"], "unknown_metric"),
    ],
    ids=["recipe", "score rule", "stage", "metric"],
)
def test_a_worker_that_does_not_have_it_says_so(look_up: Callable[[], object], code: str) -> None:
    with pytest.raises(Invalid, match="is registered here") as refusal:
        look_up()
    assert refusal.value.code == code


def strategy() -> None:
    """Adding a retrieval strategy:

    - `libs/contracts/src/touchstone_contracts/arms/retrieval.py`: a class in the union `Strategy`.
    - `libs/planning/src/touchstone_planning/strategies.py`: its `StrategyRules` (words, how much it finds at most, what
      makes it impossible), and a line where the others are registered.
    - `services/retrieval/src/touchstone_retrieval/strategies/`: a file with a function that yields findings, and a
      line in `registry.py`.
    """


@pytest.mark.parametrize("addition", [*TOYS, strategy], ids=lambda addition: addition.__name__)
def test_contributing_says_what_an_addition_takes(addition: Any) -> None:
    steps = inspect.getdoc(addition)
    assert steps is not None
    assert " ".join(steps.split()) in " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    paths = re.findall(r"^- `([^`]+)`:", steps, re.MULTILINE)
    assert len(paths) >= 2
    assert not [path for path in paths if not (ROOT / path).exists()]
