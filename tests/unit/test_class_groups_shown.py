"""Changes by kind of class: planned with the arm that counts upstream images, judged, on the page and in the report."""

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, finish_only, made_up_results, post, register_all
from support.memory_services import api_client
from support.specs import DictLookup, resolved, spec, target
from touchstone.report import Finding, markdown_report
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.class_groups import draw_groups, range_words
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.retrieval import RandomDraw, Retrieval
from touchstone_contracts.class_groups import ClassGroup, GroupChange
from touchstone_contracts.steps import ImagesCurated, JudgeExperiment
from touchstone_contracts.views import Results, Verdict
from touchstone_planning.plan import plan_experiment

SYNTHETIC = Generation(name="synthetic", generator="diffusion", images=300)
CLASSES = 9


@pytest.fixture
def api(services: Services) -> TestClient:
    return api_client(services)


def nine_classes(services: Services) -> Told:
    """The retrieved pool of `fine` holds one to nine images of the classes."""
    lookup = DictLookup()
    lookup.targets["fine"] = target("fine", classes=CLASSES)
    register_all(services, lookup)
    told = post(services, spec(seeds=(0, 1, 2), targets=("fine",)), lookup)
    results = made_up_results(services.artifacts, told)
    for (_, arm), pool in told.plan.curations.items():
        curated = results[pool]
        assert isinstance(curated, ImagesCurated)
        kept = range(1, CLASSES + 1) if arm == "retrieved" else [3] * CLASSES
        results[pool] = curated.model_copy(update={"kept_by_class": tuple(kept), "report": None})
    finish_only(services, told, results)
    return told


def verdict_of(api: TestClient, told: Told) -> Verdict:
    return Verdict.model_validate_json(api.get(f"/v1/experiments/{told.id}/verdict").content)


def upstream_arms(*arms: object) -> set[str | None]:
    plan = plan_experiment(resolved(arms=arms, targets=("fine",)))
    return {step.request.upstream_arm for step in plan.steps if isinstance(step.request, JudgeExperiment)}


def test_the_arm_that_looks_for_the_images_of_each_class_says_how_many_there_are() -> None:
    assert upstream_arms(SYNTHETIC, Retrieval(name="retrieved")) == {"retrieved"}
    drawn = Retrieval(name="drawn", strategy=RandomDraw(images_per_class=5))
    assert upstream_arms(SYNTHETIC, drawn) == {None}
    assert upstream_arms(drawn, SYNTHETIC, Retrieval(name="second"), Retrieval(name="third")) >= {"second"}


def test_an_arm_that_is_not_waited_for_is_not_asked() -> None:
    arms = (SYNTHETIC, SYNTHETIC.model_copy(update={"name": "more", "images": 400}), Retrieval(name="retrieved"))
    assert upstream_arms(*arms) == {None, "retrieved"}  # the two compared alone, then everything


def test_the_verdict_groups_classes_by_difficulty_and_upstream_images(api: TestClient, services: Services) -> None:
    groups = verdict_of(api, nine_classes(services)).class_groups
    by_images = [group for group in groups if group.by == "upstream_images"]
    assert [(group.lowest, group.highest, group.classes) for group in by_images] == [(1, 3, 3), (4, 6, 3), (7, 9, 3)]
    assert {group.by for group in groups} == {"difficulty", "upstream_images"}
    for group in groups:
        assert [change.arm for change in group.changes] == ["retrieved", "synthetic", None]
        a, b, difference = (change.difference for change in group.changes)
        assert difference == pytest.approx(a - b)


def test_page_and_report_show_the_groups_with_their_intervals(api: TestClient, services: Services) -> None:
    told = nine_classes(services)
    verdict = verdict_of(api, told)
    html = api.get(f"/experiments/{told.id}").text
    section = html.split("By difficulty of the classes")[1].split("</details>")[0]
    assert section.count("<svg") == 2
    assert section.count("<circle") == sum(len(group.changes) for group in verdict.class_groups)
    assert "1 to 3" in section
    assert "retrieved − untouched, synthetic − untouched, retrieved − synthetic" in " ".join(section.split())
    results = Results.model_validate_json(api.get(f"/v1/experiments/{told.id}/results").content)
    report = markdown_report(Finding("quick", results, verdict))
    assert "| fine | 1 to 3 images upstream | 3 |" in report
    assert "retrieved - untouched | synthetic - untouched | retrieved - synthetic |" in report


def test_targets_of_few_classes_have_no_groups(api: TestClient, services: Services) -> None:
    lookup = DictLookup()
    register_all(services, lookup)
    told = post(services, spec(seeds=(0, 1, 2)), lookup)
    finish_experiment(services, told)
    assert verdict_of(api, told).class_groups == ()
    assert "By difficulty" not in api.get(f"/experiments/{told.id}").text


def test_one_seed_is_drawn_without_intervals() -> None:
    unknown = GroupChange(arm=None, difference=0.03, low=-1, high=1)
    group = ClassGroup(target="fine", by="difficulty", lowest=0, highest=0.254, classes=3, changes=(unknown,))
    drawing = draw_groups([group, group])
    assert [label for _, label in drawing.labels] == ["0 % to 25 %"] * 2
    assert all(bar.low == bar.middle == bar.high for bar in drawing.bars)
    assert [points for _, points in drawing.ticks] == [-4, -2, 0, 2, 4]
    assert range_words(group.model_copy(update={"by": "upstream_images", "lowest": 7, "highest": 7})) == "7"
