"""An arm by class: arithmetic on small matrices, and the route."""

import numpy as np
import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import TEST_IMAGES, finish_experiment, post_experiment
from touchstone_api.bootstrap import Services
from touchstone_api.results.classes import accuracies, class_rows, top_confusions
from touchstone_contracts.catalogue import ClassLabel

LABELS = [ClassLabel(id=number, display_name=name) for number, name in enumerate(("crane", "crane", "owl", "unseen"))]
AFTER = np.array([[8, 2, 0, 0], [0, 5, 5, 0], [0, 0, 10, 0], [0, 0, 0, 0]], dtype=float)
BEFORE = np.array([[5, 5, 0, 0], [0, 9, 1, 0], [0, 0, 10, 0], [0, 0, 0, 0]], dtype=float)


def test_largest_loss_comes_first_and_a_class_without_test_images_last() -> None:
    rows = class_rows(LABELS, AFTER, BEFORE)
    assert [row.class_id for row in rows] == [1, 2, 0, 3]
    assert [row.change for row in rows[:3]] == pytest.approx([-0.4, 0.0, 0.3])
    assert (rows[3].accuracy, rows[3].change, rows[3].test_images) == (None, None, 0)


def test_without_an_untouched_encoder_the_lowest_accuracy_comes_first() -> None:
    rows = class_rows(LABELS, AFTER, None)
    assert [row.class_id for row in rows] == [1, 0, 2, 3]
    assert {row.change for row in rows} == {None}


def test_confusions_are_mistakes_only_by_frequency() -> None:
    found = [(mistake.class_id, mistake.predicted_id, mistake.images) for mistake in top_confusions(AFTER)]
    assert found == [(1, 2, 5.0), (0, 1, 2.0)]
    assert accuracies(AFTER) == [0.8, 0.5, 1.0, None]


@pytest.fixture
def finished(services: Services, api: TestClient) -> tuple[TestClient, str]:
    told = post_experiment(services)
    finish_experiment(services, told, exhausted=frozenset({("synthetic", max(told.spec.sizes))}))
    return api, f"/v1/experiments/{told.id}"


def test_table_of_an_arm_agrees_with_its_results(finished: tuple[TestClient, str]) -> None:
    api, experiment = finished
    rows = api.get(f"{experiment}/results").json()["rows"]
    row = next(row for row in rows if row["arm"] == "retrieved")
    cell = ("target", "arm", "size", "metric")
    asked = {key: row[key] for key in cell}
    answer = api.get(f"{experiment}/classes", params=asked)
    assert answer.status_code == 200
    table = answer.json()
    seeds = [other["value"] for other in rows if all(other[key] == row[key] for key in cell)]
    right = sum(entry["accuracy"] * entry["test_images"] for entry in table["classes"])
    assert len(seeds) == table["seeds"] == 3
    assert right / TEST_IMAGES == pytest.approx(np.mean(seeds))
    assert sum(mistake["images"] for mistake in table["confusions"]) == pytest.approx(TEST_IMAGES - right)
    changes = [entry["change"] for entry in table["classes"] if entry["change"] is not None]
    assert changes == sorted(changes)


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"arm": "nobody"}, 404), ({"size": 7}, 404), ({"metric": "regularised_probe"}, 404), ({"metric": "magic"}, 422)],
)
def test_what_was_not_measured_has_no_table(
    finished: tuple[TestClient, str], changed: dict[str, object], status: int
) -> None:
    api, experiment = finished
    row = api.get(f"{experiment}/results").json()["rows"][-1]
    asked = {key: row[key] for key in ("target", "arm", "size", "metric")} | changed
    assert api.get(f"{experiment}/classes", params=asked).status_code == status


def test_an_exhausted_size_has_no_table(finished: tuple[TestClient, str]) -> None:
    api, experiment = finished
    gone = api.get(f"{experiment}/results").json()["exhausted"][0]
    answer = api.get(f"{experiment}/classes", params={key: gone[key] for key in ("target", "arm", "size")})
    assert answer.status_code == 404
    assert "too few images" in answer.json()["detail"]
