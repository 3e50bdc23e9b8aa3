"""Whatever a spec may name has all that it takes; test_toys.py says what that is."""

import inspect
from collections.abc import Iterable
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.arms import retrieval
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.arms.prompts import Writer
from touchstone_contracts.catalogue import EncoderKind
from touchstone_contracts.curation import FIRST_STAGES, LAST_STAGES, SCORE_RULES, STAGES, CurationCounts
from touchstone_contracts.recipes import RECIPES
from touchstone_contracts.registry import kind_of
from touchstone_encoders.loading import LOADERS
from touchstone_generator.prompts.writers import WRITER_FUNCTIONS
from touchstone_generator.sampling.schedulers import SCHEDULERS
from touchstone_planning.strategies import STRATEGY_RULES
from touchstone_retrieval.curation import stages
from touchstone_retrieval.curation.filters import RULE_FUNCTIONS
from touchstone_retrieval.strategies.registry import STRATEGY_FUNCTIONS
from touchstone_trainer.probes import METRIC_HEADS
from touchstone_trainer.recipes.registry import RECIPE_FUNCTIONS


def kinds(models: Iterable[type[BaseModel]]) -> set[str]:
    return {kind_of(model) for model in models}


def members(union: Any) -> set[str]:
    """Of `Annotated[A | B, ...]`."""
    return kinds(get_args(get_args(union)[0]))


@pytest.mark.parametrize(
    ("named", "carried_out"),
    [
        (kinds(RECIPES), set(RECIPE_FUNCTIONS)),
        (kinds(SCORE_RULES), set(RULE_FUNCTIONS)),
        (set(METRICS), set(METRIC_HEADS)),
        (members(retrieval.Strategy), set(STRATEGY_FUNCTIONS)),
        (members(retrieval.Strategy), set(STRATEGY_RULES)),
        (members(Writer), set(WRITER_FUNCTIONS)),
        (set(get_args(Sampler.model_fields["scheduler"].annotation)) - {"own"}, set(SCHEDULERS)),  # `own`: the folder's
        (set(get_args(EncoderKind)), set(LOADERS)),
    ],
    ids=["recipes", "score rules", "metrics", "strategies", "planned strategies", "writers", "schedulers", "encoders"],
)
def test_whatever_a_spec_may_name_is_carried_out_and_nothing_else(named: set[str], carried_out: set[str]) -> None:
    assert len(named) >= 2
    assert carried_out == named


def test_every_stage_is_carried_out_in_the_order_in_which_it_is_shown_and_counted() -> None:
    assert list(stages.FIRST) == list(FIRST_STAGES)
    assert list(stages.LAST) == list(LAST_STAGES)
    assert {*FIRST_STAGES, *LAST_STAGES} <= set(CurationCounts.model_fields)
    assert set(stages.STAGE_FUNCTIONS) == kinds(STAGES)


def test_every_kind_says_what_planning_and_pages_ask_of_it() -> None:
    assert [type(recipe.needs_text_tower) for recipe in RECIPES] == [bool] * len(RECIPES)
    assert not [recipe for recipe in RECIPES if inspect.isabstract(recipe)]
    assert not [rule for rule in SCORE_RULES if inspect.isabstract(rule) or not rule.dropped_words]
    assert all(metric.words.endswith("accuracy") and metric.heading for _, metric in METRICS.items())
