"""A target may have further test sets: planned with it, never trained on, reported apart."""

import csv
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from rich.console import Console
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import memory_services
from support.specs import resolved, source, spec, target
from touchstone.tables import print_results, print_verdict
from touchstone_api.bootstrap import Services
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.catalogue import ClassFolders, SourceFiles, Splits, Target
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import CurateImages, EvaluateEncoder
from touchstone_contracts.views import Results, Verdict
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_store.catalogue import NameTaken, kind_of, register
from touchstone_store.tables import CatalogueRow

# ------------------------------------------------------------------------------------------------ declaring them


@pytest.mark.parametrize(
    ("further", "reason"),
    [
        ({"test": source("x")}, "must not be called 'test'"),
        ({"train": source("x")}, "must not be called 'train'"),
        ({"sketch": source("t-validation")}, "'sketch' has the images of 'validation'"),
        ({"sketch": source("x"), "again": source("x")}, "has the images of"),
        (
            {"sketch": SourceFiles(files=(source("x"), source("t-validation")))},
            "'sketch' has the images of 'validation': library:t-validation.parquet",
        ),
        ({"Sketch!": source("x")}, "should match pattern"),
    ],
)
def test_a_test_set_under_a_taken_name_or_with_known_images_is_refused(further: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Splits(validation=source("t-validation"), test=source("t-test"), further_tests=further)


def test_a_further_test_set_needs_a_folder_for_every_class() -> None:
    folders = ClassFolders(location="library:x", digest="0" * 64, images=4, folders=("a", "b"))
    body = target("fine").model_dump() | {
        "splits": {"validation": source("v"), "test": source("t"), "further_tests": {"sketch": folders}}
    }
    with pytest.raises(ValidationError, match="sketch names 2 folders, the target has 3 classes"):
        Target.model_validate(body)


def test_a_target_registered_before_there_were_further_tests_is_still_the_same(tmp_path: Path) -> None:
    services, entry = memory_services(tmp_path), target("fine")
    body = entry.model_dump(mode="json")
    del body["splits"]["further_tests"]
    now = datetime.now(UTC)
    with services.store.write() as session:
        session.add(
            CatalogueRow(kind=kind_of(Target), project_id=DEFAULT_PROJECT, name="fine", body=body, created_at=now)
        )
    with services.store.write() as session:
        assert register(session, entry, DEFAULT_PROJECT, now) is False
        with pytest.raises(NameTaken):
            register(session, target("fine", further_tests=("sketch",)), DEFAULT_PROJECT, now)


# ------------------------------------------------------------------------------------------------ planning


def test_every_arm_is_checked_for_leaks_from_every_test_set_and_every_run_tested_on_all() -> None:
    plan = plan_experiment(resolved(further_tests=("sketch", "clip-art"), targets=("fine",)))
    further = {name: plan.tests["fine", name] for name in ("clip-art", "sketch")}
    curations = [step.request for step in plan.steps if isinstance(step.request, CurateImages)]
    evaluations = [step.request for step in plan.steps if isinstance(step.request, EvaluateEncoder)]
    assert len(curations) == 2
    for curation in curations:
        assert [shard.images for shard in curation.further_tests] == list(further.values())
    assert len(evaluations) == 2 + 2 * 2 * 2
    assert all(evaluation.further_tests == further for evaluation in evaluations)


def test_a_further_test_set_of_one_target_leaves_the_steps_of_another_alone() -> None:
    plain, more = plan_experiment(resolved()), plan_experiment(resolved(further_tests=("sketch",)))
    kept = {step.id for step in plain.steps} & {step.id for step in more.steps}
    broad = {step.id for step in plain.steps if step.role.startswith("broad/")}
    assert len(broad) > 20
    assert broad <= kept
    changed = {step.kind for step in plain.steps if step.id not in kept}
    assert changed == {
        "curate_images",
        "audit_pool",
        "adapt_encoder",
        "evaluate_encoder",
        "probe_sources",
        "check_target",
        "compare_splits",
        "judge_experiment",
    }


def test_a_comparison_on_a_test_set_that_a_target_lacks_is_refused() -> None:
    comparison = {"a": "retrieved", "b": "synthetic", "test_set": "sketch"}
    check_fair(resolved(further_tests=("sketch",), targets=("fine",), comparison=comparison))
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(further_tests=("sketch",), comparison=comparison))
    assert caught.value.code == "unknown_test_set"
    assert [(error.pointer, error.detail) for error in caught.value.errors] == [
        ("/comparison/test_set", "target 'broad' has no test set 'sketch'; there is only 'test'")
    ]


def test_the_main_test_set_by_name_is_the_same_experiment() -> None:
    named = resolved(comparison={"a": "retrieved", "b": "synthetic", "test_set": "test"})
    assert identity(named) == identity(resolved(comparison={"a": "retrieved", "b": "synthetic"}))


# ------------------------------------------------------------------------------------------------ reporting


@pytest.fixture
def told(services: Services) -> Told:
    """`fine` has a second test set, `broad` has not."""
    told = post_experiment(services, spec(seeds=(0, 1, 2)), further_tests=("sketch",))
    finish_experiment(services, told)
    return told


def test_results_have_rows_of_each_test_set_in_json_and_csv(api: TestClient, told: Told) -> None:
    path = f"/v1/experiments/{told.id}/results"
    rows = api.get(path).json()["rows"]
    on = {name: [row for row in rows if row["test_set"] == name] for name in ("test", "sketch")}
    assert len(on["test"]) == 2 * len(on["sketch"]) == 2 * 5 * 3 * 2
    assert {row["target"] for row in on["sketch"]} == {"fine"}
    lines = list(csv.DictReader(io.StringIO(api.get(f"{path}?format=csv").text)))
    assert [line["test_set"] for line in lines] == [row["test_set"] for row in rows]
    assert api.get(f"{path}?format=parquet").status_code == 200


def test_the_verdict_is_about_the_main_test_set_and_reports_the_other_beside_it(api: TestClient, told: Told) -> None:
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert (verdict["primary"]["test_set"], verdict["primary"]["test_images"]) == ("test", 2 * 200)
    elsewhere = [entry for entry in verdict["secondary"] if entry["test_set"] == "sketch"]
    assert [(entry["metric"], entry["test_images"]) for entry in elsewhere] == [
        ("zero_shot", 200),
        ("linear_probe", 200),
    ]
    assert all(entry["adjusted_p_value"] is not None for entry in elsewhere)
    assert "sketch" not in verdict["headline"]


def test_a_declared_test_set_decides_the_whole_verdict(services: Services, api: TestClient) -> None:
    comparison = {"a": "retrieved", "b": "synthetic", "test_set": "sketch"}
    told = post_experiment(
        services, spec(seeds=(0, 1, 2), targets=("fine",), comparison=comparison), further_tests=("sketch",)
    )
    finish_experiment(services, told)
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    summary = api.get(f"/v1/experiments/{told.id}/results").json()["summary"]
    means = {
        arm: [
            row["mean"]
            for row in summary
            if (row["arm"], row["metric"], row["test_set"]) == (arm, "zero_shot", "sketch")
        ]
        for arm in ("retrieved", "synthetic")
    }
    expected = sum(means["retrieved"]) / 2 - sum(means["synthetic"]) / 2
    assert verdict["primary"]["difference"] == pytest.approx(expected)
    assert "points of zero-shot accuracy on sketch" in verdict["headline"]
    assert {entry["test_set"] for entry in verdict["classes"]} == {"sketch"}
    assert {entry["test_set"] for entry in verdict["secondary"]} == {"sketch", "test"}


def test_each_test_set_has_its_tables_on_the_page_and_its_classes(api: TestClient, told: Told) -> None:
    html = api.get(f"/experiments/{told.id}").text
    assert len(re.findall(r"<figcaption>[^<]* on sketch in percent</figcaption>", html)) == 2
    assert "fine, linear-probe accuracy on sketch in percent" in html
    assert "broad, linear-probe accuracy on sketch" not in html
    asked: dict[str, str | int] = {"arm": "retrieved", "size": 6, "target": "fine", "test_set": "sketch"}
    path = f"/v1/experiments/{told.id}/classes"
    table = api.get(path, params=asked).json()
    assert table["test_set"] == "sketch"
    assert table["classes"] != api.get(path, params=asked | {"test_set": "test"}).json()["classes"]
    assert api.get(path, params=asked | {"target": "broad"}).status_code == 404


def test_every_test_set_has_its_own_fits(services: Services, api: TestClient) -> None:
    told = post_experiment(
        services, spec(seeds=(0, 1), sizes=(6, 12, 24), targets=("fine",)), further_tests=("sketch",)
    )
    finish_experiment(services, told)
    fits = api.get(f"/v1/experiments/{told.id}/scaling").json()["fits"]
    assert [fit["test_set"] for fit in fits] == ["test"] * 4 + ["sketch"] * 4


def test_the_client_shows_them_apart(api: TestClient, told: Told) -> None:
    path, console = f"/v1/experiments/{told.id}", Console(file=io.StringIO(), width=120)
    assert isinstance(console.file, io.StringIO)
    print_results(console, Results.model_validate(api.get(f"{path}/results").json()))
    measured = console.file.getvalue()
    targets = [line.split("│")[1].strip() for line in measured.splitlines() if line.startswith("│")]
    assert targets == [*["broad"] * 5, *["fine"] * 5, *["fine on sketch"] * 5]
    verdict = Verdict.model_validate(api.get(f"{path}/verdict").json())
    elsewhere = verdict.primary.model_copy(update={"test_set": "sketch"})
    print_verdict(console, verdict.model_copy(update={"primary": elsewhere}))
    assert "in ZS on sketch: " in console.file.getvalue()
