"""One REST call runs an experiment through every process: HTTP in, verdict out."""

import csv
import io
import math
from collections import Counter
from typing import Any

import httpx
import pytest
from support.tiny_world import expected_cells, tiny_study
from touchstone import Client, ProblemError
from touchstone_contracts.views import ExperimentDetail
from touchstone_stack.lifecycle import Stack

SHARED_BY_SIZES = {
    "ingest_images", "embed_images", "retrieve_images", "write_prompts", "generate_images",
    "curate_images", "check_target",
}  # fmt: skip
"""Kinds of work that do not depend on how large the training sets are."""


def test_results_hold_one_row_per_cell_and_metric(client: Client, finished_experiment: ExperimentDetail) -> None:
    results = client.results(finished_experiment.id)
    cells = [(row.target, row.arm, row.size, row.seed, row.metric) for row in results.rows]
    assert results.complete
    assert len(cells) == len(set(cells)) == 2 * (2 + 2 * 2 * 2)
    assert set(cells) == expected_cells(tiny_study())
    assert all(0 <= row.value <= 1 and row.test_images == 16 for row in results.rows)


def test_the_csv_agrees_with_the_json(client: Client, finished_experiment: ExperimentDetail) -> None:
    rows = client.results(finished_experiment.id).rows
    lines = list(csv.DictReader(io.StringIO(client.results_csv(finished_experiment.id))))
    assert len(lines) == len(rows) == 20
    for line, row in zip(lines, rows, strict=True):
        assert (line["target"], line["arm"], line["metric"]) == (row.target, row.arm, row.metric)
        assert (int(line["size"]), int(line["seed"])) == (row.size, row.seed)
        assert math.isclose(float(line["value"]), row.value, abs_tol=1e-12)


def test_curation_accounts_for_every_image(client: Client, finished_experiment: ExperimentDetail) -> None:
    counts = {entry.arm: entry.counts for entry in client.results(finished_experiment.id).counts}
    assert set(counts) == {"retrieved", "synthetic"}
    for each in counts.values():
        assert each.obtained == each.kept + sum(each.dropped.values())
        assert each.kept >= 8
    assert counts["synthetic"].requested == counts["synthetic"].obtained == 24


def test_the_verdict_is_about_the_results_and_its_interval_holds_the_difference(
    client: Client, finished_experiment: ExperimentDetail
) -> None:
    verdict, results = client.verdict(finished_experiment.id), client.results(finished_experiment.id)
    assert verdict.results_digest == results.digest
    assert (verdict.a, verdict.b) == ("retrieved", "synthetic")
    assert verdict.primary.low <= verdict.primary.difference <= verdict.primary.high
    means = {
        arm: [row.value for row in results.rows if row.arm == arm and row.metric == "zero_shot"]
        for arm in ("retrieved", "synthetic")
    }
    expected = sum(means["retrieved"]) / 4 - sum(means["synthetic"]) / 4
    assert verdict.primary.difference == pytest.approx(expected, abs=1e-9)
    assert verdict.headline


def test_a_second_domain_is_tested_in_the_same_run_and_reported_apart(client: Client) -> None:
    comparison = {"a": "retrieved", "b": "synthetic", "metric": "linear_probe", "test_set": "pale"}
    posted, _ = client.post_document(tiny_study(name="two domains", targets=["forms"], comparison=comparison))
    client.wait(posted.id, timeout=120)
    results, verdict = client.results(posted.id), client.verdict(posted.id)
    images = {row.test_set: row.test_images for row in results.rows}
    assert images == {"test": 16, "pale": 8}
    assert len(results.rows) == 2 * 2 * (2 + 2 * 2 * 2)
    assert (verdict.primary.test_set, verdict.primary.test_images) == ("pale", 8)
    assert {entry.test_set for entry in verdict.secondary} == {"pale", "test"}


def test_the_same_spec_again_is_the_same_experiment(client: Client, finished_experiment: ExperimentDetail) -> None:
    again, created = client.post_document(tiny_study())
    assert (again.id, created) == (finished_experiment.id, False)
    assert again.phase == "succeeded"


def test_a_clone_with_other_sizes_repeats_no_retrieval_generation_or_curation(
    client: Client, finished_experiment: ExperimentDetail
) -> None:
    clone = client.clone(finished_experiment.id, {"name": "other sizes", "sizes": [8, 12]})
    total = Counter(step.kind for step in client.experiment(clone.id).step_list)
    assert set(total) >= SHARED_BY_SIZES
    assert {kind: clone.reused_by_kind.get(kind, 0) for kind in SHARED_BY_SIZES} == {
        kind: total[kind] for kind in SHARED_BY_SIZES
    }
    assert clone.reused_by_kind["adapt_encoder"] == 4, "two arms and two seeds at the size both have"
    assert clone.steps.reused == sum(clone.reused_by_kind.values())
    client.wait(clone.id, timeout=120)
    results = client.results(clone.id)
    known = {
        (row.arm, row.size, row.seed, row.metric): row.value for row in client.results(finished_experiment.id).rows
    }
    common = [row for row in results.rows if row.size == 8]
    assert len(common) == 8
    assert all(row.value == known[row.arm, row.size, row.seed, row.metric] for row in common)


def with_generator(name: str) -> list[dict[str, Any]]:
    none, retrieved, synthetic = tiny_study()["arms"]
    return [none, retrieved, synthetic | {"generator": name}]


@pytest.mark.parametrize(
    ("changes", "status", "code", "pointer", "reason"),
    [
        ({"colour": "red"}, 422, "invalid_request", "/colour", "there is no such field"),
        ({"arms": [{"kind": "none"}, {"kind": "magic"}]}, 422, "invalid_request", "/arms/1/kind", "magic"),
        ({"targets": ["shapes", "dragons"]}, 422, "unknown_name", "/targets/1", "dragons"),
        ({"sizes": [4, 5000]}, 422, "size_unreachable", "/sizes/1", "at most 192 images"),
        ({"arms": with_generator("stranger")}, 409, "generator_of_another_upstream", "/arms/2/generator", "elsewhere"),
        ({"sizes": [4, 4]}, 422, "invalid_request", "", "sizes must not repeat"),
        ({"curation": {"filter": {"kind": "keep_all", "minimum": 0}}}, 422, "invalid_request", None, "no such field"),
    ],
    ids=["unknown-field", "unknown-arm", "unknown-target", "size", "generator", "repeated-size", "wrong-combination"],
)
def test_a_bad_spec_is_refused_with_its_pointer_and_creates_nothing(
    client: Client, changes: dict[str, Any], status: int, code: str, pointer: str | None, reason: str
) -> None:
    before = [experiment.id for experiment in client.experiments()]
    document = {**tiny_study(name="refused"), **changes}
    with pytest.raises(ProblemError, match=reason) as caught:
        client.post_document(document)
    problem = caught.value.problem
    assert (problem.status, problem.code) == (status, code)
    assert problem.request_id
    if pointer is not None:
        assert pointer in [error.pointer for error in problem.errors]
    assert [experiment.id for experiment in client.experiments()] == before


def test_a_refusal_is_a_problem_document(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    response = http.post("/v1/experiments", content=b"{not json", headers=headers)
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("application/problem+json")
    assert "Traceback" not in response.text


def test_the_event_stream_resumes_after_the_last_seen_event(
    client: Client, finished_experiment: ExperimentDetail
) -> None:
    events = list(client.events(finished_experiment.id))
    assert len(events) > 20
    assert [event.id for event in events] == sorted({event.id for event in events})
    assert events[-1].data["phase"] == "succeeded"
    middle = len(events) // 2
    assert list(client.events(finished_experiment.id, after=events[middle].id)) == events[middle + 1 :]
    assert list(client.events(finished_experiment.id, after=events[-1].id)) == []


def test_images_of_an_arm_are_served_with_their_facts(
    client: Client, http: httpx.Client, finished_experiment: ExperimentDetail
) -> None:
    page = client.arm_images(finished_experiment.id, "synthetic", "shapes", limit=5)
    assert len(page.items) == 5
    for image in page.items:
        assert image.caption
        response = http.get(image.url)
        assert response.status_code == 200
        assert response.content.startswith(b"\x89PNG")


def test_up_again_changes_nothing(stack: Stack, client: Client, finished_experiment: ExperimentDetail) -> None:
    names = ("valkey", "s3", "api", "retrieval", "generator", "trainer", "judge", "conductor")
    pids = {name: stack.supervisor().pid_of(name) for name in names}
    stack.up()
    assert {name: stack.supervisor().pid_of(name) for name in names} == pids
    assert 0 not in pids.values()
    assert client.experiment(finished_experiment.id).phase == "succeeded"


def test_every_process_is_healthy_and_measured(stack: Stack, server: str) -> None:
    assert httpx.get(f"{server}/readyz").json() == {"database": "ok", "object_store": "ok"}
    state = stack.folder.read_state()
    assert state is not None
    assert len(state.health_ports) == 6
    for port in state.health_ports.values():
        assert "touchstone_" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
