"""An experiment that an earlier release left half-finished goes on with this code and ends as it would have there."""

from collections import Counter
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.earlier_installation import EarlierInstallation, contradictions, open_earlier_installation
from support.memory_services import api_client
from support.workers_here import WorkersHere, work_to_the_end, workers_here
from touchstone_contracts.steps import JUDGE_EXPERIMENT

pytestmark = pytest.mark.usefixtures("one_thread")

SAME_VALUES = 0.9
"""Share of the rows with the very same accuracy. All have it on the kind of processor that the fixture was made on;
with the instructions of older ones images and weights differ in their last bits, and up to 4 of the 128 rows did."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> EarlierInstallation:
    return open_earlier_installation(tmp_path_factory.mktemp("earlier"))


@pytest.fixture(scope="module")
def ended(earlier: EarlierInstallation, tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, WorkersHere]:
    services = earlier.services()
    with workers_here(services.artifacts, earlier.library, tmp_path_factory.mktemp("workers")) as workers:
        work_to_the_end(services, workers)
    return api_client(services), workers


def both(earlier: EarlierInstallation, api: TestClient, part: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the earlier release reached, and what is answered now."""
    path = f"/v1/experiments/{earlier.experiment('half_finished')}/{part}"
    return earlier.expected["reached"][path]["body"], api.get(path).json()


def test_only_what_was_missing_is_computed(earlier: EarlierInstallation, ended: tuple[TestClient, WorkersHere]) -> None:
    api, workers = ended
    experiment = api.get(f"/v1/experiments/{earlier.experiment('half_finished')}").json()
    before = earlier.expected["answers"][f"/v1/experiments/{experiment['id']}"]["body"]
    unfinished = {step["id"]: step for step in before["step_list"] if step["state"] != "succeeded"}
    assert experiment["phase"] == "succeeded"
    computed = [message for message in workers.done if message.kind != JUDGE_EXPERIMENT.name]
    assert sorted(unfinished) == sorted(message.step_id for message in computed)
    leased = [step for step in unfinished.values() if step["state"] == "leased"]
    attempts = Counter(message.attempt for message in computed)
    assert attempts == {1: len(unfinished) - len(leased), 2: len(leased)}


def test_it_ends_with_the_results_it_would_have_reached(
    earlier: EarlierInstallation, ended: tuple[TestClient, WorkersHere]
) -> None:
    expected, found = both(earlier, ended[0], "results")
    fields = ("target", "arm", "size", "seed", "metric", "test_set", "updates", "test_images")
    assert len(expected["rows"]) == 128
    assert found["complete"]
    for field in fields:
        assert [row[field] for row in found["rows"]] == [row[field] for row in expected["rows"]]
    same = [a["value"] == b["value"] for a, b in zip(found["rows"], expected["rows"], strict=True)]
    assert sum(same) >= SAME_VALUES * len(same)
    assert found["counts"] == expected["counts"]


def test_arms_without_generated_images_have_the_same_training_sets(
    earlier: EarlierInstallation, ended: tuple[TestClient, WorkersHere]
) -> None:
    expected, found = both(earlier, ended[0], "manifest")
    assert found["identity"] == expected["identity"]
    assert contradictions(expected["steps"], found["steps"]) == []
    retrieved = [each for each in expected["training_sets"] if each["arm"].startswith("retrieved")]
    assert len(retrieved) == 2 * 3 * 2  # arms, sizes, seeds
    assert all(each in found["training_sets"] for each in retrieved)


def test_its_verdict_compares_the_same(earlier: EarlierInstallation, ended: tuple[TestClient, WorkersHere]) -> None:
    expected, found = both(earlier, ended[0], "verdict")
    compared = ("a", "b", "delta", "confidence", "stopping", "answer")
    assert {name: found[name] for name in compared} == {name: expected[name] for name in compared}
    assert len(found["secondary"]) == len(expected["secondary"])


def test_the_cancelled_experiment_stays_cancelled(
    earlier: EarlierInstallation, ended: tuple[TestClient, WorkersHere]
) -> None:
    experiment = ended[0].get(f"/v1/experiments/{earlier.experiment('cancelled')}").json()
    assert experiment["phase"] == "cancelled"
    assert experiment["steps"]["waiting"] == 9
