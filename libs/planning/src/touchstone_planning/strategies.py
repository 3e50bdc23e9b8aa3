"""How many images each retrieval strategy finds of a class at most."""

from collections.abc import Callable
from typing import Any

from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import Target
from touchstone_contracts.registry import Implementations


def most_found_per_class(strategy: Strategy, target: Target) -> int:
    """Raises Invalid at a strategy that is not registered."""
    return MOST_FOUND.of(strategy)(strategy, target)


def _by_text(strategy: TextMatch, target: Target) -> int:
    asked = [1 + len(label.aliases) for label in target.classes] + [len(own) for own in strategy.queries.values()]
    return max(asked) * strategy.results_per_query


def _by_meaning(strategy: Semantic, target: Target) -> int:
    templates = strategy.templates or target.templates.retrieval
    return len(templates) * len(strategy.indexes) * strategy.results_per_query


def _by_both(strategy: Union, target: Target) -> int:
    return _by_text(strategy.text_match, target) + _by_meaning(strategy.semantic, target)


def _at_random(strategy: RandomDraw, target: Target) -> int:
    """Draws are labelled after the fact, so one class may get the draws of all."""
    return strategy.images_per_class * len(target.classes)


MOST_FOUND = Implementations[Callable[[Any, Target], int]]("retrieval strategy")
MOST_FOUND.register(TextMatch, _by_text)
MOST_FOUND.register(Semantic, _by_meaning)
MOST_FOUND.register(Union, _by_both)
MOST_FOUND.register(RandomDraw, _at_random)
