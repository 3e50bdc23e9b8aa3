"""The judge's step: the same documents as the gateway made of the same measurements, and what it does without them."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.finished_experiments import (
    TEST_IMAGES,
    Told,
    finish_experiment,
    finish_only,
    made_up_results,
    post_experiment,
    write_result,
)
from support.memory_services import memory_services
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import ClusterOfKey
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.inputs import inputs_of
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.layout import Cell
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import (
    EncoderEvaluated,
    ExperimentJudged,
    ImagesIngested,
    JudgeExperiment,
)
from touchstone_contracts.values import Blob
from touchstone_contracts.views import Results, Scaling, Verdict
from touchstone_judge.tasks import Tools, judge_experiment
from touchstone_planning.layout import judge_request, layout_of
from touchstone_planning.resolve import resolve
from touchstone_runtime.artifacts import Artifacts, CorruptObject
from touchstone_runtime.finished import FinishedSteps, without_matches
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter
from touchstone_runtime.objects import MemoryObjects, MissingObject
from touchstone_runtime.serving import no_progress

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden/judged_experiments.json").read_text())
FURTHER = ("sketch",)
LATER = {
    "decided_by",
    "paired_seeds",
    "failed_runs",
    "seed_overlap",
    "spread",
    "registration",
    "added_later",
    "headline",
    "would_decide",
    "chances",
    "baseline_by_size",
    "target_sample",
    "class_groups",
}
"""Of a verdict: fields that it did not have then, and sentences that are worded in another way."""
LATER_OF_COMPARISONS = {"own", "borrowed", "clusters"}
LATER_OF_CHECKS = {"target", "size", "above", "adjusted_p_value"}


def request_of(told: Told, first_seeds: int | None = None) -> JudgeExperiment:
    """As planned before a comparison said where its spread between seeds comes from."""
    resolved = resolve(told.spec, DictLookup(FURTHER))
    return judge_request(resolved, layout_of(told.plan), first_seeds=first_seeds, spread=None)


def judged(services: Services, request: JudgeExperiment) -> ExperimentJudged:
    # Progress is called with (done, total), as by the function that stands in for it.
    return judge_experiment(request, Tools(services.artifacts, FinishedSteps(services.artifacts)), no_progress)  # type: ignore[arg-type]


def read(services: Services, blob: Blob | None) -> bytes:
    assert blob is not None
    return services.artifacts.get_blob(blob)


def near(expected: Any) -> Any:
    """Equal but for the last digits of numbers, which a numerical library may change."""
    if isinstance(expected, Mapping):
        return {name: near(value) for name, value in expected.items()}
    if isinstance(expected, list):
        return [near(value) for value in expected]
    return pytest.approx(expected, rel=1e-9, abs=1e-12) if isinstance(expected, float) else expected


def as_golden(document: Results | Scaling | Verdict) -> dict[str, Any]:
    assert document.experiment == ""
    found: dict[str, Any] = without_later(
        document.model_dump(mode="json", exclude={"experiment", "rows", "costs", "prices"})
    )
    return found


def without_later(document: Any) -> Any:
    if isinstance(document, dict):
        later = LATER_OF_COMPARISONS if "p_value" in document else LATER_OF_CHECKS if "below" in document else LATER
        return {name: without_later(value) for name, value in document.items() if name not in later}
    return [without_later(value) for value in document] if isinstance(document, list) else document


def clear_truth(cell: Cell, metric: str) -> float:
    return {"none": 0.4, "retrieved": 0.8, "synthetic": 0.5}[cell.arm]


def every_fact(services: Services) -> Told:
    """A further test set, three sizes, and arms that chose different learning rates."""
    recipe = {"kind": "cross_entropy", "learning_rates": [1e-4, 1e-5]}
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24), recipe=recipe), further_tests=FURTHER)
    finish_experiment(services, told, chosen={"retrieved": 1e-4, "synthetic": 1e-5})
    return told


def too_few_images(services: Services) -> Told:
    told = post_experiment(services)
    finish_experiment(services, told, exhausted=frozenset({("synthetic", 12)}))
    return told


@pytest.mark.parametrize("case", [every_fact, too_few_images])
def test_the_documents_are_those_that_the_gateway_made(services: Services, case: Any) -> None:
    found, golden = judged(services, request_of(case(services))), GOLDEN[case.__name__]
    results = Results.model_validate_json(read(services, found.results))
    scaling = Scaling.model_validate_json(read(services, found.scaling))
    verdict = Verdict.model_validate_json(read(services, found.verdict))
    assert found.results_digest == results.digest == golden["results"]["digest"]
    assert as_golden(results) == near(golden["results"])
    assert as_golden(scaling) == near(golden["scaling"])
    assert as_golden(verdict) == near(without_later(golden["verdict"]))
    assert (verdict.costs, found.problem) == ((), None)


def test_the_first_seeds_are_judged_as_the_gateway_did_while_others_were_missing(services: Services) -> None:
    comparison = Comparison(a="retrieved", b="synthetic", stopping="anytime")
    told = post_experiment(services, spec(seeds=tuple(range(8)), comparison=comparison))
    waiting = {step for cell, step in told.plan.evaluations.items() if cell.seed > 4}
    results = made_up_results(services.artifacts, told, clear_truth)
    finish_only(services, told, {step: result for step, result in results.items() if step not in waiting})
    found = judged(services, request_of(told, first_seeds=5))
    verdict = as_golden(Verdict.model_validate_json(read(services, found.verdict)))
    golden = GOLDEN["five_of_eight_seeds"]["verdict"]
    # The gateway's rows held the untouched encoder's too.
    assert verdict | {"results_digest": golden["results_digest"]} == near(without_later(golden))
    assert (found.results, found.scaling, found.problem) == (None, None, None)


def test_judging_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        services = memory_services(tmp_path / name)
        found.append(judged(services, request_of(every_fact(services))))
    assert found[0] == found[1]


def test_progress_counts_the_arrays_that_are_read(services: Services) -> None:
    told = too_few_images(services)
    steps: list[tuple[int, int | None]] = []
    tools = Tools(services.artifacts, FinishedSteps(services.artifacts))
    judge_experiment(request_of(told), tools, lambda done, total: steps.append((done, total)))  # type: ignore[arg-type]
    # 2 targets x 2 metrics x 3 seeds x (none, retrieved at two sizes, synthetic at one)
    assert steps == [(number, 48) for number in range(1, 49)]


def test_without_two_arms_that_train_there_are_results_and_no_verdict(services: Services) -> None:
    told = post_experiment(services, spec(arms=(NoTraining(), Retrieval(name="retrieved")), sizes=(6, 12, 24)))
    finish_experiment(services, told)
    found = judged(services, request_of(told))
    assert found.problem is not None
    assert (found.problem.code, found.problem.status, found.verdict) == ("no_comparison", 409, None)
    assert len(Results.model_validate_json(read(services, found.results)).rows) == 2 * 4 * 2 * 2
    assert len(Scaling.model_validate_json(read(services, found.scaling)).fits) == 2 * 2


def test_arms_without_a_common_size_have_nothing_to_compare(services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told, exhausted=frozenset({("synthetic", 12), ("retrieved", 6)}))
    found = judged(services, request_of(told))
    assert found.problem is not None
    assert (found.problem.code, found.verdict) == ("nothing_to_compare", None)
    assert found.results is not None


# ------------------------------------------------------------------------------------------------ lost measurements


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def stored(tmp_path: Path, objects: MemoryObjects) -> Services:
    return memory_services(tmp_path, Artifacts(objects))


def predictions_of(services: Services, told: Told) -> Blob:
    step = next(iter(told.plan.evaluations.values()))
    result = EncoderEvaluated.model_validate(services.artifacts.manifest(step).result)  # type: ignore[union-attr]
    return result.predictions["zero_shot"].classes


def test_an_evaluation_that_was_lost_is_said_to_be_missing(stored: Services, objects: MemoryObjects) -> None:
    told = too_few_images(stored)
    objects.remove(manifest_key(next(iter(told.plan.evaluations.values()))))
    with pytest.raises(MissingObject):
        judged(stored, request_of(told))


def test_predictions_that_were_lost_are_said_to_be_missing(stored: Services, objects: MemoryObjects) -> None:
    told = too_few_images(stored)
    objects.remove(blob_key(predictions_of(stored, told).digest))
    with pytest.raises(MissingObject):
        judged(stored, request_of(told))


def test_predictions_with_other_bytes_are_said_to_be_corrupt(stored: Services, objects: MemoryObjects) -> None:
    told = too_few_images(stored)
    key = blob_key(predictions_of(stored, told).digest)
    objects.remove(key)
    objects.put(key, b"something else")
    with pytest.raises(CorruptObject):
        judged(stored, request_of(told))


# ------------------------------------------------------------------------------------------------ the request


def test_the_layout_names_the_step_of_every_cell_and_grid(services: Services) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2)), further_tests=FURTHER)
    layout = layout_of(told.plan)
    assert layout.evaluations == told.plan.evaluations
    assert len(layout.evaluations) == 2 * (2 * 2 + 1) * 3
    assert layout.curations == told.plan.curations
    assert layout.splits == told.plan.tests
    assert layout.test_sets == told.plan.test_sets == ("test", "sketch")
    runs = [run.step for grid in layout.grids for run in grid.adaptations]
    assert sorted(runs) == sorted(step.id for step in told.plan.steps if step.kind == "adapt_encoder")
    assert len(layout.grids) == 2 * 2 * 2


def test_the_request_waits_for_all_that_was_measured(services: Services) -> None:
    told = post_experiment(services)
    request = request_of(told)
    wanted = {*told.plan.evaluations.values(), *told.plan.curations.values(), *told.plan.tests.values()}
    assert wanted <= set(inputs_of(request))
    assert (request.arms, request.untouched, request.leaks_checked) == (("retrieved", "synthetic"), "none", True)


def test_a_second_arm_without_training_has_its_results_too(services: Services) -> None:
    arms = (NoTraining(), NoTraining(name="again"), Retrieval(name="retrieved"))
    told = post_experiment(services, spec(arms=arms))
    finish_experiment(services, told, truth=lambda cell, metric: 0.5)
    request = request_of(told)
    results = Results.model_validate_json(read(services, judged(services, request).results))
    assert (request.untouched, request.arms) == ("none", ("retrieved",))
    assert (
        [row.arm for row in results.rows].count("again") == [row.arm for row in results.rows].count("none") == 2 * 2 * 2
    )


def test_the_first_seeds_wait_for_nothing_of_later_ones_or_of_other_arms(services: Services) -> None:
    told = post_experiment(services, spec(seeds=(4, 2, 7)))
    cells = {step: cell for cell, step in told.plan.evaluations.items()}
    request = request_of(told, first_seeds=2)
    waited = [cells[step] for step in inputs_of(request) if step in cells]
    assert {cell.seed for cell in waited} == {4, 2}
    assert {cell.arm for cell in waited} == {"retrieved", "synthetic"}
    assert len(waited) == 2 * 2 * 2 * 2


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_too_few_seeds_or_all_of_them_are_no_first_seeds(services: Services, count: int) -> None:
    told = post_experiment(services)
    with pytest.raises(ValueError, match="of 3 seeds cannot be judged before the others"):
        request_of(told, first_seeds=count)


def test_a_request_whose_layout_has_other_seeds_than_it_says_is_refused(services: Services) -> None:
    told = too_few_images(services)
    with pytest.raises(Invalid, match=r"measures the seeds \[0, 1, 2\], but \[0, 1\] are to be judged"):
        judged(services, request_of(told).model_copy(update={"first_seeds": 2}))


# ------------------------------------------------------------------------------------------------ intervals


def test_a_judgement_planned_today_borrows_and_says_how_much_seeds_have_in_common(services: Services) -> None:
    told = every_fact(services)
    request = judge_request(resolve(told.spec, DictLookup(FURTHER)), layout_of(told.plan))
    verdict = Verdict.model_validate_json(read(services, judged(services, request).verdict))
    assert verdict.decided_by == "borrowed"
    assert verdict.primary.own is not None
    found = {(entry.target, entry.arm, entry.size): entry for entry in verdict.seed_overlap}
    assert set(found) == {
        (target, arm, size)
        for target in told.spec.targets
        for arm in ("retrieved", "synthetic")
        for size in (6, 12, 24)
    }
    for (_, _, size), entry in found.items():
        assert min(1.0, size / entry.pool) * 0.99 <= entry.shared <= 1.0
    assert any("out of a pool of" in warning for warning in verdict.warnings)


def test_test_images_of_one_concept_are_judged_together(stored: Services, objects: MemoryObjects) -> None:
    """The keys of the made-up split: concept/picture, four pictures of each."""
    services = stored
    told = too_few_images(services)
    keys = [f"{number // 4}/{number % 4}" for number in range(TEST_IMAGES)]
    step = told.plan.tests["fine", "test"]
    writer = ImageSetWriter(services.artifacts)
    for key in keys:
        writer.add(b"picture", ImageRecord(width=1, height=1, source_kind="target", source_key=key, class_id=0))
    objects.remove(manifest_key(step))
    write_result(services.artifacts, step, "ingest_images", ImagesIngested(images=writer.finish()))
    layout = layout_of(told.plan)
    tests = [
        entry.model_copy(update={"cluster": ClusterOfKey(remove="/.*")}) if entry.step == step else entry
        for entry in layout.tests
    ]
    request = request_of(told).model_copy(update={"layout": layout.model_copy(update={"tests": tuple(tests)})})
    plain, clustered = (
        Verdict.model_validate_json(read(services, judged(services, asked).verdict)).primary
        for asked in (request_of(told), request)
    )
    assert plain.clusters is None
    # The other target's images were drawn one by one.
    assert clustered.clusters == TEST_IMAGES // 4 + TEST_IMAGES
    assert clustered.difference == plain.difference


def test_a_failed_run_is_found_by_its_validation_and_can_be_left_out(services: Services) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2)))
    results = made_up_results(services.artifacts, told, clear_truth)
    for cell, step in told.plan.evaluations.items():
        failed = (cell.arm, cell.size, cell.seed) == ("retrieved", 12, 1)
        results[step] = results[step].model_copy(update={"validation_accuracy": 0.1 if failed else 0.6})
    finish_only(services, told, results)
    comparison = Comparison(a="retrieved", b="synthetic", failed_runs="leave_out")
    request = request_of(told).model_copy(update={"comparison": comparison})
    verdict = Verdict.model_validate_json(read(services, judged(services, request).verdict))
    assert verdict.failed_runs is not None
    assert {(run.arm, run.size, run.seed) for run in verdict.failed_runs.runs} == {("retrieved", 12, 1)}
    assert (verdict.primary.seeds, verdict.failed_runs.otherwise.seeds) == (2, 3)


def test_names_of_clusters_are_what_re2_leaves_of_keys_in_linear_time() -> None:
    keys = ["noto/baby-chick", "fxemoji/babychick"]
    assert without_matches("^[^/]+/|-", keys) == ["babychick", "babychick"]
    began, long = time.process_time(), "a" * 1000
    assert without_matches("(a|a)*b|(a*)*c", [long]) == [long]  # backtracking would never end
    assert time.process_time() - began < 2
    with pytest.raises(Invalid, match="register another"):
        without_matches("(?=-)", keys)
