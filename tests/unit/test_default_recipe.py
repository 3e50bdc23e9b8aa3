"""What a spec without a recipe means, and that a recipe which is named is the paper's."""

import json
from typing import Any

from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import identity
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.values import STORED

FEWEST_UPDATES = 25
"""The quick look changes its encoder with 24, at the higher rate."""
README_SIZES = (85, 170)


def spec(**changes: Any) -> ExperimentSpec:
    asked = {
        "name": "animals",
        "upstream": "miniverse",
        "encoder": "mini-clip",
        "targets": ["animals"],
        "arms": [{"kind": "none"}, {"kind": "retrieval", "name": "retrieved"}],
        "sizes": README_SIZES,
    }
    return ExperimentSpec.model_validate(asked | changes)


def test_a_recipe_that_is_left_out_chooses_its_rate_and_updates_often_enough() -> None:
    recipe = spec().recipe
    runs = dict(recipe.runs())
    assert list(runs) == [1e-5, 1e-4]
    assert [[run.work(size, 100).updates for size in README_SIZES] for run in runs.values()] == [[30, 60], [30, 60]]
    assert min(README_SIZES) == 85
    assert recipe.work(min(README_SIZES), 100).updates >= FEWEST_UPDATES


def test_a_recipe_that_is_named_is_the_papers() -> None:
    assert spec(recipe={"kind": "cross_entropy"}).recipe == CrossEntropy()
    assert (CrossEntropy().learning_rates, CrossEntropy().epochs, CrossEntropy().batch_size) == ((1e-5,), 30, 512)
    assert identity(spec(recipe={"kind": "cross_entropy"})) != identity(spec())


def test_a_stored_spec_holds_the_recipe_that_it_was_posted_with() -> None:
    before = spec(recipe={"kind": "cross_entropy"})
    stored = before.model_dump_json()
    assert json.loads(stored)["recipe"]["batch_size"] == 512
    assert ExperimentSpec.model_validate_json(stored, context=STORED) == before
