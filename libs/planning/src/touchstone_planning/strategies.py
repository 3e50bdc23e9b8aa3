"""What the rules must know of each retrieval strategy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import Target
from touchstone_contracts.problems import FieldError
from touchstone_contracts.registry import Implementations

from touchstone_planning.pointers import escaped, unknown_classes
from touchstone_planning.resolved import ResolvedExperiment

DEPTH_OF_RESERVE = 2
"""How many times as many hits a strategy is asked for, so that others can stand in for links that have rotted: half to
three quarters of LAION's still gave an image in 2023-2024."""
MOST_RESULTS = 100_000
"""The most the contract lets a strategy ask for."""


def nothing_impossible(strategy: Strategy, resolved: ResolvedExperiment, pointer: str) -> Iterator[FieldError]:
    yield from ()


def no_patterns(strategy: Strategy, pointer: str) -> Iterator[tuple[str, str]]:
    yield from ()


def nothing_compared(strategy: Strategy) -> Iterator[tuple[str, str]]:
    yield from ()


@dataclass(frozen=True)
class StrategyRules:
    words: str
    """After "found by"."""
    most_per_class: Callable[[Any, Target], int]
    deeper: Callable[[Any], Strategy]
    """The same strategy, asked for more of the same list."""
    impossible: Callable[[Any, ResolvedExperiment, str], Iterator[FieldError]] = nothing_impossible
    """(strategy, experiment, JSON pointer to the strategy)"""
    patterns: Callable[[Any, str], Iterator[tuple[str, str]]] = no_patterns
    """(strategy, JSON pointer to it) -> pointer to each regular expression, and the expression."""
    by_class: bool = True
    """Whether it looks for the images of each class."""
    images_compared: Callable[[Any], Iterator[tuple[str, str]]] = nothing_compared
    """JSON pointer below the strategy to each field that asks for embeddings of the upstream's images, and what to
    choose where there are none."""


def rules_of(strategy: Strategy) -> StrategyRules:
    """Raises Invalid at a strategy that is not registered."""
    return STRATEGY_RULES.of(strategy)


def _more(number: int) -> int:
    return min(DEPTH_OF_RESERVE * number, MOST_RESULTS)


def _most_by_text(strategy: TextMatch, target: Target) -> int:
    by_name = [len(strategy.query_templates) or 1 + len(label.aliases) for label in target.classes]
    asked = by_name + [len(own) for own in strategy.queries.values()]
    return max(asked) * strategy.results_per_query


def _most_by_meaning(strategy: Semantic, target: Target) -> int:
    templates = strategy.templates or target.templates.retrieval
    return len(templates) * len(strategy.indexes) * strategy.results_per_query


def _most_by_both(strategy: Union, target: Target) -> int:
    return _most_by_text(strategy.text_match, target) + _most_by_meaning(strategy.semantic, target)


def _most_drawn(strategy: RandomDraw, target: Target) -> int:
    """Draws are labelled after the fact, so one class may get the draws of all."""
    return strategy.images_per_class * len(target.classes)


def _more_per_query(strategy: TextMatch | Semantic) -> TextMatch | Semantic:
    return strategy.model_copy(update={"results_per_query": _more(strategy.results_per_query)})


def _more_of_both(strategy: Union) -> Union:
    parts = {"text_match": _more_per_query(strategy.text_match), "semantic": _more_per_query(strategy.semantic)}
    return strategy.model_copy(update=parts)


def _more_draws(strategy: RandomDraw) -> RandomDraw:
    return strategy.model_copy(update={"images_per_class": _more(strategy.images_per_class)})


def _impossible_queries(strategy: TextMatch, resolved: ResolvedExperiment, pointer: str) -> Iterator[FieldError]:
    yield from unknown_classes(resolved, strategy.queries, f"{pointer}/queries")


def _impossible_in_both(strategy: Union, resolved: ResolvedExperiment, pointer: str) -> Iterator[FieldError]:
    return _impossible_queries(strategy.text_match, resolved, f"{pointer}/text_match")


def _patterns(strategy: TextMatch, pointer: str) -> Iterator[tuple[str, str]]:
    if strategy.mode == "regex":
        for key, patterns in strategy.queries.items():
            for position, pattern in enumerate(patterns):
                yield f"{pointer}/queries/{escaped(key)}/{position}", pattern


def _patterns_of_both(strategy: Union, pointer: str) -> Iterator[tuple[str, str]]:
    return _patterns(strategy.text_match, f"{pointer}/text_match")


def _images_compared(strategy: Semantic) -> Iterator[tuple[str, str]]:
    if "image" in strategy.indexes:
        yield "/indexes", 'choose ["text"], which compares the class texts with the captions, or text_match'


def _images_compared_in_union(strategy: Union) -> Iterator[tuple[str, str]]:
    return ((f"/semantic{pointer}", instead) for pointer, instead in _images_compared(strategy.semantic))


def _images_of_a_draw(strategy: RandomDraw) -> Iterator[tuple[str, str]]:
    yield "/kind", "a random draw gives each image the class whose text is nearest to it; choose text_match or semantic"


STRATEGY_RULES = Implementations[StrategyRules]("retrieval strategy")
STRATEGY_RULES.register(
    TextMatch, StrategyRules("words of their captions", _most_by_text, _more_per_query, _impossible_queries, _patterns)
)
STRATEGY_RULES.register(
    Semantic,
    StrategyRules("similarity to the class texts", _most_by_meaning, _more_per_query, images_compared=_images_compared),
)
STRATEGY_RULES.register(
    Union,
    StrategyRules(
        "words of their captions and similarity to the class texts",
        _most_by_both,
        _more_of_both,
        _impossible_in_both,
        _patterns_of_both,
        images_compared=_images_compared_in_union,
    ),
)
STRATEGY_RULES.register(
    RandomDraw,
    StrategyRules("chance", _most_drawn, _more_draws, by_class=False, images_compared=_images_of_a_draw),
)
