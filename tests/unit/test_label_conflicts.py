"""Images that several classes of a target claim, and which rule an experiment of which age is curated by."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sqlalchemy import text
from support.finished_experiments import post_experiment
from support.memory_services import api_client, memory_services
from support.specs import resolved, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.curation import Curation, KeepAll, LabelConflicts
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import identity, identity_text
from touchstone_contracts.steps import CurateImages
from touchstone_contracts.values import STORED
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_retrieval.curation.candidates import Candidates, Curated, HeldOutImages, References
from touchstone_retrieval.curation.label_conflicts import without_label_conflicts
from touchstone_retrieval.curation.pipeline import count_stages, curate

# Images a and b are in two classes each, c in one; of a's rows the second has the better score, b's are equal.
IDS, CLASSES = ["a", "a", "b", "b", "c"], np.array([0, 1, 2, 1, 0])
SCORES = np.array([0.2, 0.3, 0.5, 0.5, 0.1], dtype=np.float32)


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        ("keep_all", [True, True, True, True, True]),
        ("best_class", [False, True, False, True, True]),
        ("drop", [False, False, False, False, True]),
    ],
)
def test_an_image_of_several_classes_stays_in_all_in_the_best_or_in_none(
    rule: LabelConflicts, stays: list[bool]
) -> None:
    assert without_label_conflicts(rule, IDS, CLASSES, SCORES).tolist() == stays


@pytest.mark.parametrize("rule", ["keep_all", "best_class", "drop"])
def test_an_image_found_twice_for_one_class_is_no_conflict(rule: LabelConflicts) -> None:
    assert without_label_conflicts(rule, ["a", "a"], np.array([3, 3]), np.array([0.1, 0.2])).all()
    assert without_label_conflicts(rule, [], np.zeros(0, np.int64), np.zeros(0)).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_the_best_class_does_not_depend_on_the_order_of_the_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, class_ids = [f"image {number}" for number in rng.integers(40, size=200)], rng.integers(9, size=200)
    scores = rng.integers(5, size=200) / 10
    stays = without_label_conflicts("best_class", ids, class_ids, scores)
    left = {(image, int(label)) for image, label, stay in zip(ids, class_ids, stays, strict=True) if stay}
    assert len(left) == len(set(ids))  # each image in one class
    order = rng.permutation(200)
    shuffled = [ids[row] for row in order]
    assert (without_label_conflicts("best_class", shuffled, class_ids[order], scores[order]) == stays[order]).all()


def unit(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def curated(rules: Curation, angles: tuple[float, ...], ids: list[str], class_ids: list[int]) -> Curated:
    """Class 0 lies at 0 degrees, class 1 at 90, the test image at 200."""
    candidates = Candidates(unit(*angles), np.array(class_ids), ids)
    return curate(candidates, unit(0, 90), References(HeldOutImages(unit(200), ["test"])), rules)


def test_a_conflict_is_resolved_before_near_duplicates_are_looked_for_and_is_counted() -> None:
    rules = Curation(filter=KeepAll(), near_duplicate_cosine=0.999, label_conflicts="best_class")
    # `both` is nearer to class 1. In class 0 it would have shadowed its near-duplicate with the lower score.
    result = curated(rules, (50, 50, 51), ["both", "both", "alike"], [0, 1, 0])
    assert result.reasons.tolist() == ["label_conflict", "", ""]
    counts = count_stages(result.reasons, np.array([0, 1, 0]), 2, requested=3)
    assert (counts.label_conflict, counts.kept, counts.dropped["label_conflict"]) == (1, 2, 1)


def test_a_leaked_image_is_leaked_in_each_of_its_classes() -> None:
    rules = Curation(filter=KeepAll(), leak_cosine=0.99, label_conflicts="best_class")
    assert curated(rules, (200, 200), ["both", "both"], [0, 1]).reasons.tolist() == ["leaked", "leaked"]


def test_a_new_experiment_keeps_an_image_in_its_best_class_unless_it_says_otherwise() -> None:
    said: tuple[dict[str, Any], ...] = ({}, {"curation": {"ranking": "score"}}, {"curation": Curation(ranking="score")})
    assert [spec(**each).curation.label_conflicts for each in said] == ["best_class"] * 3
    for other in ("keep_all", "drop"):
        for curation in ({"label_conflicts": other}, Curation.model_validate({"label_conflicts": other})):
            assert spec(curation=curation).curation.label_conflicts == other
    with pytest.raises(ValidationError, match="label_conflicts"):
        spec(curation={"label_conflicts": "first"})


def test_what_was_stored_before_there_was_a_rule_keeps_all() -> None:
    document = spec(curation={"label_conflicts": "keep_all"}).model_dump(mode="json")
    del document["curation"]["label_conflicts"]
    stored = ExperimentSpec.model_validate_json(json.dumps(document), context=STORED)
    assert stored.curation.label_conflicts == "keep_all"
    assert ExperimentSpec.model_validate(document).curation.label_conflicts == "best_class"
    # Requests hold rules of their own, which say what they always said.
    assert Curation.model_validate(document["curation"]).label_conflicts == "keep_all"
    assert "label_conflicts" not in identity_of_rules(resolved(curation={"label_conflicts": "keep_all"}))
    assert identity_of_rules(resolved())["label_conflicts"] == "best_class"


def identity_of_rules(experiment: ResolvedExperiment) -> dict[str, object]:
    requests = [step.request for step in plan_experiment(experiment).steps if isinstance(step.request, CurateImages)]
    rules: dict[str, object] = json.loads(identity_text(requests[0]))["rules"]
    return rules


def test_keeping_all_said_aloud_is_the_experiment_of_before() -> None:
    aloud = resolved(curation={"label_conflicts": "keep_all"})
    document = aloud.model_dump(mode="json")
    del document["spec"]["curation"]["label_conflicts"]
    before = type(aloud).model_validate(document, context=STORED)
    assert identity(before) == identity(aloud)
    assert {step.id for step in plan_experiment(before).steps} == {step.id for step in plan_experiment(aloud).steps}
    assert identity(resolved()) != identity(aloud)


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return memory_services(tmp_path)


def test_a_stored_experiment_without_the_rule_is_shown_and_cloned_as_it_was(services: Services) -> None:
    posted = post_experiment(services).id
    with services.store.write() as session:
        without = "json_remove(spec, '$.curation.label_conflicts')"
        session.execute(text(f"UPDATE experiments SET spec = {without} WHERE id = :id"), {"id": posted})
    with api_client(services) as client:
        shown = client.get(f"/v1/experiments/{posted}").json()["spec"]["curation"]
        assert shown["label_conflicts"] == "keep_all"
        clone = client.post(f"/v1/experiments/{posted}/clone", json={"seeds": [7, 8]}).json()
        assert clone["spec"]["curation"]["label_conflicts"] == "keep_all"
