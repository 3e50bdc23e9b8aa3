"""The predictions of an experiment as a file: whoever has it computes the verdict again."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, finish_only, made_up_results, post_experiment
from support.memory_services import api_client, memory_services
from support.specs import spec
from touchstone.client import Client, ProblemError
from touchstone.predictions import read_predictions
from touchstone_api.bootstrap import Services
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.keys import blob_key
from touchstone_contracts.views import BaselineCheck, ComparisonResult
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.objects import MemoryObjects
from touchstone_verdict.judge import judge

FURTHER = ("sketch",)
SPEC = spec(seeds=(0, 1, 2), sizes=(6, 12), comparison=Comparison(a="retrieved", b="synthetic"))


@pytest.fixture
def client(api: TestClient) -> Client:
    found = Client()
    found._http = api  # type: ignore[assignment]  # the api in this process instead of a server
    return found


def by_cell(entries: Sequence[ComparisonResult | BaselineCheck]) -> dict[tuple[Any, ...], float]:
    cells = [
        (entry.target, entry.size, entry.metric, getattr(entry, "arm", None), getattr(entry, "test_set", None))
        for entry in entries
    ]
    found = dict(zip(cells, (entry.difference for entry in entries), strict=True))
    assert len(found) == len(cells)
    return found


def downloaded(api: TestClient, experiment: str) -> Any:
    answer = api.get(f"/v1/experiments/{experiment}/predictions")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    return pq.read_table(io.BytesIO(answer.content))


def test_the_verdict_is_computed_again_from_the_file(client: Client, services: Services, tmp_path: Path) -> None:
    told = post_experiment(services, SPEC, further_tests=FURTHER)
    finish_experiment(services, told)
    file = tmp_path / "predictions.parquet"
    assert client.save_predictions(told.id, file) == file.stat().st_size
    given, again = client.verdict(told.id), judge(read_predictions(file), Comparison(a="retrieved", b="synthetic"))
    assert again.primary.own == given.primary.own
    # The file does not say in which order the spec named the targets: what is drawn falls to others.
    assert (again.primary.low, again.primary.high) == pytest.approx((given.primary.low, given.primary.high), abs=1e-5)
    assert again.decided_by == given.decided_by == "borrowed"
    assert by_cell(again.secondary) == pytest.approx(by_cell(given.secondary))
    assert by_cell(again.baseline_by_size) == pytest.approx(by_cell(given.baseline_by_size))
    assert len(given.secondary) >= 7
    assert len(given.baseline_by_size) >= 8
    assert list(tmp_path.glob("*.part")) == []


def test_every_finished_run_has_a_row_for_each_image_metric_and_test_set(api: TestClient, services: Services) -> None:
    told = post_experiment(services, SPEC, further_tests=FURTHER)
    finish_experiment(services, told, exhausted=frozenset({("synthetic", 12)}))
    table, results = downloaded(api, told.id), api.get(f"/v1/experiments/{told.id}/results").json()
    assert table.num_rows == sum(row["test_images"] for row in results["rows"])
    keys = ("target", "arm", "size", "seed", "metric", "test_set")
    right: dict[tuple[Any, ...], int] = {}
    for row in table.select([*keys, "correct"]).to_pylist():
        cell = tuple(row[key] for key in keys)
        right[cell] = right.get(cell, 0) + row["correct"]
    wanted = {tuple(row[key] for key in keys): row["value"] * row["test_images"] for row in results["rows"]}
    assert right == {cell: pytest.approx(count) for cell, count in wanted.items()}
    assert ("synthetic", 12) not in {(arm, size) for _, arm, size, *_ in right}


def test_before_everything_is_in_the_file_holds_what_is_there(api: TestClient, services: Services) -> None:
    told = post_experiment(services, SPEC)
    assert downloaded(api, told.id).num_rows == 0
    results = made_up_results(services.artifacts, told)
    first = {step: results[step] for step in list(told.plan.evaluations.values())[:2]}
    splits = {step: results[step] for step in told.plan.tests.values()}
    finish_only(services, told, first | splits)
    runs = downloaded(api, told.id).group_by(["arm", "size", "seed", "target"]).aggregate([])
    assert runs.num_rows == 2


def test_where_predictions_were_lost_the_answer_is_a_problem_and_not_half_a_file(tmp_path: Path) -> None:
    objects = MemoryObjects()
    services = memory_services(tmp_path, Artifacts(objects))
    told = post_experiment(services, SPEC)
    finish_experiment(services, told)
    last = FinishedSteps(services.artifacts).evaluated(list(told.plan.evaluations.values())[-1])
    objects.remove(blob_key(last.predictions["zero_shot"].classes.digest))
    answer = api_client(services).get(f"/v1/experiments/{told.id}/predictions")
    assert answer.status_code == 503
    assert answer.json()["code"] == "healing"


def test_a_refused_download_leaves_no_file(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="exp_0"):
        client.save_predictions("exp_0", tmp_path / "predictions.parquet")
    assert list(tmp_path.glob("predictions*")) == []
