"""Results, verdict and images over HTTP, from manifests alone."""

import csv
import io
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import (
    ON_CPU,
    ON_GPU,
    Told,
    finish_experiment,
    finish_only,
    made_up_results,
    post_experiment,
)
from support.memory_services import api_client, memory_services
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.mixture import Mixture, Part, Share
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.identity import sha256
from touchstone_contracts.steps import ImagesIngested
from touchstone_store.layouts import upstream_layout, upstream_plan_id


@pytest.fixture
def told(services: Services) -> Told:
    return post_experiment(services)


@pytest.fixture
def finished(services: Services, told: Told) -> Told:
    finish_experiment(services, told)
    return told


def test_there_is_one_row_per_target_arm_size_seed_and_metric(api: TestClient, finished: Told) -> None:
    results = api.get(f"/v1/experiments/{finished.id}/results").json()
    cells = Counter((r["target"], r["arm"], r["size"], r["seed"], r["metric"]) for r in results["rows"])
    # 2 targets x (2 arms x 2 sizes + none) x 3 seeds x 2 metrics
    assert len(cells) == 2 * 5 * 3 * 2
    assert set(cells.values()) == {1}
    assert all(0 <= row["value"] <= 1 and row["test_images"] == 200 for row in results["rows"])
    assert results["complete"]
    assert len(results["summary"]) == 2 * 5 * 2
    assert all(entry["seeds"] == 3 and entry["std"] is not None for entry in results["summary"])


def upstream_index(services: Services, name: str) -> str:
    with services.store.read() as session:
        return upstream_layout(session, upstream_plan_id(name)).index


def test_the_manifest_names_all_that_decides_the_numbers(api: TestClient, services: Services, finished: Told) -> None:
    experiment = api.get(f"/v1/experiments/{finished.id}").json()
    found = api.get(f"/v1/experiments/{finished.id}/manifest").json()
    assert (found["identity"], found["spec"]) == (experiment["identity"], experiment["spec"])
    assert [step["id"] for step in found["steps"]] == [step["id"] for step in experiment["step_list"]]
    # What the upstream's own plan leaves is there before the first step.
    known = {upstream_index(services, found["spec"]["upstream"])}
    for step in found["steps"]:
        assert set(step["inputs"]) <= known
        known.add(step["id"])
    trained = [(row["target"], row["arm"], row["size"], row["seed"]) for row in found["training_sets"]]
    spec = found["spec"]
    assert len(set(trained)) == len(spec["targets"]) * 2 * len(spec["sizes"]) * len(spec["seeds"])
    assert found["complete"]
    assert found["results_digest"] == api.get(f"/v1/experiments/{finished.id}/results").json()["digest"]
    assert [entry["name"] for entry in found["targets"]] == spec["targets"]
    assert api.get("/v1/experiments/exp_none/manifest").status_code == 404


def test_the_manifest_has_software_and_hardware_of_the_steps_that_recorded_them(
    api: TestClient, finished: Told
) -> None:
    found = api.get(f"/v1/experiments/{finished.id}/manifest").json()
    kinds = Counter(step["kind"] for step in found["steps"])
    trained = kinds["adapt_encoder"] + kinds["evaluate_encoder"]
    on_gpu, on_cpu = found["made_with"]
    assert (on_gpu["kinds"], on_gpu["steps"]) == (["adapt_encoder", "evaluate_encoder"], trained)
    assert (on_gpu["environment"], on_cpu["environment"]) == (ON_GPU.model_dump(), ON_CPU.model_dump())
    assert {"judge_experiment", "curate_images"} < set(on_cpu["kinds"])
    assert found["made_with_unknown"] == kinds.total() - on_gpu["steps"] - on_cpu["steps"] > 0


def test_validation_stands_beside_test_for_what_was_adapted(api: TestClient, finished: Told) -> None:
    rows = api.get(f"/v1/experiments/{finished.id}/results").json()["rows"]
    assert {(row["arm"] == "none", row["validation"]) for row in rows} == {(True, None), (False, 0.7)}


def test_csv_and_parquet_hold_the_rows_of_the_json(api: TestClient, finished: Told) -> None:
    path = f"/v1/experiments/{finished.id}/results"
    rows = api.get(path).json()["rows"]
    answer = api.get(path, params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(float(line["value"]), int(line["seed"])) for line in lines] == [(r["value"], r["seed"]) for r in rows]
    table = pq.read_table(io.BytesIO(api.get(path, params={"format": "parquet"}).content))
    assert table.to_pylist() == rows


def test_the_digest_is_the_rows_and_nothing_else(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        services = memory_services(tmp_path / name)
        told = post_experiment(services)
        finish_experiment(services, told)
        digests.append(api_client(services).get(f"/v1/experiments/{told.id}/results").json()["digest"])
    assert digests[0] == digests[1]


def test_while_running_the_results_are_partial_and_the_verdict_is_refused(
    api: TestClient, services: Services, told: Told
) -> None:
    results = made_up_results(services.artifacts, told)
    first = next(step for cell, step in told.plan.evaluations.items() if cell.arm == "retrieved")
    tests = {step: result for step, result in results.items() if isinstance(result, ImagesIngested)}
    finish_only(services, told, {first: results[first], **tests})
    partial = api.get(f"/v1/experiments/{told.id}/results").json()
    assert (partial["complete"], len(partial["rows"])) == (False, 2)
    answer = api.get(f"/v1/experiments/{told.id}/verdict")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
    assert answer.headers["content-type"] == "application/problem+json"
    arm = api.get(f"/v1/experiments/{told.id}/arms/retrieved", params={"target": "fine"})
    assert (arm.status_code, arm.json()["code"]) == (409, "not_finished")


def test_the_verdict_finds_the_arm_that_was_made_better(api: TestClient, finished: Told) -> None:
    verdict = api.get(f"/v1/experiments/{finished.id}/verdict").json()
    assert (verdict["a"], verdict["b"], verdict["answer"]) == ("retrieved", "synthetic", "a_better")
    assert verdict["primary"]["low"] <= 0.08 <= verdict["primary"]["high"]
    assert verdict["primary"]["test_images"] == 400
    assert verdict["results_digest"] == api.get(f"/v1/experiments/{finished.id}/results").json()["digest"]
    assert [check["below"] for check in verdict["baseline"]] == [False] * 4
    assert len(verdict["exchange_rates"]) == 4


def test_every_class_is_compared_at_every_target(api: TestClient, finished: Told) -> None:
    classes = api.get(f"/v1/experiments/{finished.id}/verdict").json()["classes"]
    assert [(entry["target"], entry["class_id"]) for entry in classes] == [
        (target, number) for target in ("fine", "broad") for number in range(3)
    ]
    assert sum(entry["test_images"] for entry in classes) == 400


def test_different_learning_rates_are_reported_with_the_swapped_difference(api: TestClient, services: Services) -> None:
    recipe = {"kind": "cross_entropy", "learning_rates": [1e-4, 1e-5]}
    told = post_experiment(services, spec(seeds=(0, 1, 2), recipe=recipe))
    finish_experiment(services, told, chosen={"retrieved": 1e-4, "synthetic": 1e-5})
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    checks = verdict["learning_rates"]
    # Both reach 70 % at their own choice and 50 % at the other's.
    assert [(c["target"], c["size"]) for c in checks] == [
        ("fine", 6), ("fine", 12), ("broad", 6), ("broad", 12), (None, None)
    ]  # fmt: skip
    assert all((c["own"], c["swapped"], c["vanishes"]) == (0.0, 0.0, False) for c in checks)
    told_of = [warning for warning in verdict["warnings"] if "learning rates" in warning]
    assert len(told_of) == 1
    assert "at 4 of their targets and sizes" in told_of[0]


def test_equal_learning_rates_are_no_matter(api: TestClient, finished: Told) -> None:
    assert api.get(f"/v1/experiments/{finished.id}/verdict").json()["learning_rates"] == []


def test_arms_with_three_sizes_have_a_fitted_curve_once_every_run_is_in(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24)))
    results = made_up_results(services.artifacts, told)
    finished = {step for cell, step in told.plan.evaluations.items() if cell.arm == "retrieved"}
    tests = set(told.plan.tests.values())
    finish_only(services, told, {step: result for step, result in results.items() if step in finished | tests})
    assert api.get(f"/v1/experiments/{told.id}/scaling").json()["fits"] == []
    finish_only(services, told, results)
    scaling = api.get(f"/v1/experiments/{told.id}/scaling").json()
    assert [(fit["target"], fit["metric"], fit["arm"]) for fit in scaling["fits"]] == [
        (target, metric, arm)
        for target in ("broad", "fine")
        for metric in ("linear_probe", "zero_shot")
        for arm in ("retrieved", "synthetic")
    ]
    assert all([p["size"] for p in fit["points"] if p["forecast"]] == [48, 96] for fit in scaling["fits"])


def test_the_verdict_carries_the_fits_of_both_arms(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24)))
    finish_experiment(services, told)
    fits = api.get(f"/v1/experiments/{told.id}/verdict").json()["scaling"]
    assert fits == api.get(f"/v1/experiments/{told.id}/scaling").json()["fits"]
    assert len(fits) == 2 * 2 * 2
    assert "Forecast at twice the largest size" in api.get(f"/experiments/{told.id}").text


def test_two_sizes_have_no_fitted_curve(api: TestClient, finished: Told) -> None:
    assert api.get(f"/v1/experiments/{finished.id}/scaling").json()["fits"] == []


def test_a_size_that_ran_out_of_images_is_a_declared_fact(api: TestClient, services: Services, told: Told) -> None:
    finish_experiment(services, told, exhausted=frozenset({("synthetic", 12)}))
    results = api.get(f"/v1/experiments/{told.id}/results").json()
    assert results["complete"]
    assert [(e["target"], e["arm"], e["size"], e["available"]) for e in results["exhausted"]] == [
        ("broad", "synthetic", 12, 7),
        ("fine", "synthetic", 12, 7),
    ]
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert sum("left out: 12" in warning for warning in verdict["warnings"]) == 2
    assert all(entry["size"] != 12 for entry in verdict["secondary"])


def test_arms_with_different_numbers_of_updates_are_a_declared_fact(
    api: TestClient, services: Services, told: Told
) -> None:
    cells = {step: cell for cell, step in told.plan.evaluations.items()}
    results = made_up_results(services.artifacts, told)
    for step, cell in cells.items():
        if cell.arm != "none":
            fewer = (cell.arm, cell.size) == ("synthetic", 12)
            results[step] = results[step].model_copy(update={"updates": 30 if fewer else 40})
    finish_only(services, told, results)
    rows = api.get(f"/v1/experiments/{told.id}/results").json()["rows"]
    assert {(row["arm"], row["updates"]) for row in rows} == {
        ("none", None), ("retrieved", 40), ("synthetic", 40), ("synthetic", 30),
    }  # fmt: skip
    warnings = [w for w in api.get(f"/v1/experiments/{told.id}/verdict").json()["warnings"] if "updates" in w]
    assert warnings == [
        f"{target}, size 12: the arms were trained with different numbers of updates (retrieved 40, synthetic 30)."
        for target in ("broad", "fine")
    ]


def test_one_training_arm_has_no_verdict(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(arms=(NoTraining(), Retrieval(name="retrieved"))))
    finish_experiment(services, told)
    answer = api.get(f"/v1/experiments/{told.id}/verdict")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_comparison")


@pytest.mark.parametrize("path", ["results", "verdict", "scaling", "arms/retrieved", "arms/retrieved/images"])
def test_an_unknown_experiment_is_not_found(api: TestClient, path: str) -> None:
    answer = api.get(f"/v1/experiments/exp_nothing/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_counts_by_stage_add_up(api: TestClient, finished: Told) -> None:
    counts = api.get(f"/v1/experiments/{finished.id}/arms/retrieved", params={"target": "fine"}).json()["counts"]
    parts = ("leaked", "near_duplicate", "filtered", "over_cap", "kept")
    assert counts["obtained"] == sum(counts[part] for part in parts) == 30


def test_an_arm_needs_its_target_named_when_there_are_two(api: TestClient, finished: Told) -> None:
    answer = api.get(f"/v1/experiments/{finished.id}/arms/retrieved")
    assert (answer.status_code, answer.json()["code"]) == (422, "target_needed")
    assert api.get(f"/v1/experiments/{finished.id}/arms/none", params={"target": "fine"}).status_code == 404


def test_pages_walk_every_image_of_a_class_once(api: TestClient, finished: Told) -> None:
    path = f"/v1/experiments/{finished.id}/arms/retrieved/images"
    query: dict[str, str] = {"target": "fine", "class_id": "1", "limit": "4"}
    seen: list[dict[str, object]] = []
    while True:
        page = api.get(path, params=query).json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len({image["id"] for image in seen}) == len(seen) == 10
    assert {image["class_name"] for image in seen} == {"thing 1"}
    kept = api.get(path, params=query | {"cursor": "", "kept": "false"})
    assert kept.status_code == 422  # an empty cursor is not one of ours


def test_a_retrieved_image_names_the_query_that_found_it(api: TestClient, finished: Told) -> None:
    path = f"/v1/experiments/{finished.id}/arms"
    query = {"target": "fine", "class_id": "1"}
    images = api.get(f"{path}/retrieved/images", params=query).json()["items"]
    assert len(images) == 10
    assert {(image["found_by"], image["query"], image["part"]) for image in images} == {
        ("text_match/phrase/0", "thing 1", None)
    }
    made = api.get(f"{path}/synthetic/images", params=query).json()["items"]
    assert {(image["found_by"], image["query"]) for image in made} == {("", "")}


def test_an_image_of_a_mixture_names_the_arm_it_came_from(api: TestClient, services: Services) -> None:
    parts = tuple(Part(arm=arm, amount=Share(share=0.5)) for arm in ("synthetic", "retrieved"))
    told = post_experiment(services, spec(arms=(*spec().arms, Mixture(name="mixed", parts=parts))))
    finish_experiment(services, told, truth=lambda cell, metric: 0.5)
    path = f"/v1/experiments/{told.id}/arms/mixed"
    images = api.get(f"{path}/images", params={"target": "fine", "limit": "30"}).json()["items"]
    assert Counter(image["part"] for image in images) == {"synthetic": 15, "retrieved": 15}
    # A mixture downloads nothing itself: its parts tell of their links.
    assert api.get(f"{path}/links", params={"target": "fine"}).status_code == 404


def test_an_image_is_served_as_the_bytes_its_id_names(api: TestClient, finished: Told) -> None:
    path = f"/v1/experiments/{finished.id}/arms/synthetic/images"
    images = api.get(path, params={"target": "fine", "kept": "true", "limit": "3"}).json()["items"]
    assert len(images) == 3
    for image in images:
        answer = api.get(image["url"])
        assert sha256(answer.content) == image["id"]
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "immutable" in answer.headers["cache-control"]
    assert api.get(f"{path}/{'0' * 64}", params={"target": "fine"}).status_code == 404
