"""What is asked for each class: its own queries where the strategy states some, else templates with its name, else its
names."""

import re
from collections.abc import Sequence

from touchstone_contracts.arms.retrieval import TextMatch
from touchstone_contracts.catalogue import ClassLabel, filled, ids_by_key


def caption_queries(strategy: TextMatch, classes: Sequence[ClassLabel]) -> list[list[str]]:
    """By position in `classes`, without repeats. A key that names several classes asks for each of them."""
    own: dict[int, tuple[str, ...]] = {}
    ids = ids_by_key(classes)
    for key, queries in strategy.queries.items():
        own |= dict.fromkeys(ids.get(key, ()), queries)
    return [list(dict.fromkeys(own.get(label.id) or _names(strategy, label))) for label in classes]


def _names(strategy: TextMatch, label: ClassLabel) -> Sequence[str]:
    if strategy.query_templates:
        return [filled(template, label.query) for template in strategy.query_templates]
    names = (label.query, *label.aliases)
    return [whole_words(name) for name in names] if strategy.mode == "regex" else names


def whole_words(name: str) -> str:
    r"""An RE2 pattern for `name` with neither letter nor digit beside it (RE2's own `\b` knows ASCII only)."""
    return rf"(?:^|[^\pL\pN]){re.escape(name)}(?:$|[^\pL\pN])"
