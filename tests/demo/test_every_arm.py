"""Every kind of arm, rule of curation, recipe and metric runs to a verdict on the miniverse, at its smallest size."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from support.finished_demo import FinishedDemo
from touchstone import Client
from touchstone.documents import read_document
from touchstone_contracts.catalogue import Dataset
from touchstone_contracts.experiment import ExperimentSpec

EVERY_ARM = read_document(Path(__file__).parent / "every_arm.yaml")
RECIPES: tuple[dict[str, Any], ...] = (
    {"kind": "contrastive", "learning_rates": [1e-5], "epochs": 1, "batch_size": 15},
    {"kind": "head_only"},
    {"kind": "lora", "learning_rates": [1e-3], "epochs": 1, "batch_size": 15},
    {"kind": "learned_prompts", "learning_rates": [2e-3], "epochs": 1, "batch_size": 15},
    {"kind": "two_stage", "epochs": 1, "batch_size": 15, "head": {"images": 30, "epochs": 1}},
)
FILTERS: tuple[dict[str, Any], ...] = (
    {"kind": "keep_all"},
    {"kind": "keep_above_score", "minimum": 0.1},
    {"kind": "keep_above_class_score", "minimums": {"0": 0.1}, "minimum": 0.0},
    {
        "kind": "all_of",
        "rules": [{"kind": "keep_above_score", "minimum": 0.0}, {"kind": "keep_top_fraction", "fraction": 0.9}],
    },
)


def two_arms(**changes: object) -> dict[str, Any]:
    """The study with retrieved and synthetic alone."""
    arms = [arm for arm in EVERY_ARM["arms"] if arm.get("name") in ("retrieved", "synthetic") or arm["kind"] == "none"]
    return EVERY_ARM | {"arms": arms, "evaluation": {"metrics": ["zero_shot"]}} | changes


def with_recipe_and_filter(recipe: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    curation = EVERY_ARM["curation"] | {"filter": rule, "novelty_cosine": 0.995, "ranking": "score"}
    return two_arms(name=f"{recipe['kind']} after {rule['kind']}", recipe=recipe, curation=curation)


PAIRS = [with_recipe_and_filter(recipe, rule) for recipe, rule in zip(RECIPES, itertools.cycle(FILTERS), strict=False)]
"""Each recipe and each rule at least once."""


@pytest.fixture(scope="module")
def posted(finished_demo: FinishedDemo) -> dict[str, str]:
    """The ids of all experiments by their names: posted at once, so that while one is judged another is trained."""
    client = finished_demo.client
    train = client.target("broad").splits.train
    assert train is not None
    client.register("datasets", Dataset(name="broad-by-hand", target="broad", images=train))
    documents = [EVERY_ARM, *PAIRS]
    return {document["name"]: client.post_document(document)[0].id for document in documents}


def finished(client: Client, experiment: str) -> str:
    assert client.wait(experiment).phase == "succeeded"
    return experiment


def test_every_kind_of_arm_runs_to_a_verdict(finished_demo: FinishedDemo, posted: dict[str, str]) -> None:
    client, spec = finished_demo.client, ExperimentSpec.model_validate(EVERY_ARM)
    assert {arm.kind for arm in spec.arms} == {
        "none", "target_train", "given", "retrieval", "generation", "perturbation", "mixture", "labelled",
    }  # fmt: skip
    experiment = finished(client, posted[spec.name])
    results = client.results(experiment)
    assert len(results.rows) == len(spec.arms) * len(spec.seeds) * len(spec.evaluation.metrics)
    assert results.exhausted == ()
    kept = {counts.arm: counts.counts.kept for counts in results.counts}
    assert kept.keys() == {arm.name for arm in spec.training_arms}
    assert kept["gamma-000"] == kept["gamma-050"] == kept["target_train"] == kept["brought"]
    assert kept["half"] == kept["retrieved"] + kept["synthetic"]
    assert client.verdict(experiment).answer in ("a_better", "b_better", "no_difference", "undecided")


def test_every_recipe_and_every_filter_is_tried() -> None:
    tried = [(pair["recipe"]["kind"], pair["curation"]["filter"]["kind"]) for pair in PAIRS]
    assert [recipe for recipe, _ in tried] == [recipe["kind"] for recipe in RECIPES]
    assert {rule for _, rule in tried} == {rule["kind"] for rule in FILTERS}


@pytest.mark.parametrize("study", PAIRS, ids=lambda study: study["name"])
def test_every_recipe_after_a_filter_runs_to_a_verdict(
    finished_demo: FinishedDemo, posted: dict[str, str], study: dict[str, Any]
) -> None:
    client = finished_demo.client
    experiment = finished(client, posted[study["name"]])
    results = client.results(experiment)
    assert len(results.rows) == 3 * 2
    counts = {found.arm: found.counts for found in results.counts}
    assert counts["retrieved"].familiar == 0  # upstream's own images are never compared with upstream
    assert all(found.kept >= 45 for found in counts.values())
    assert client.verdict(experiment).headline
