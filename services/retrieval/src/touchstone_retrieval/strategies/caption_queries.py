"""What is asked for each class: its own queries where the strategy states some, else templates with its name, else its
names."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from touchstone_contracts.arms.retrieval import TextMatch
from touchstone_contracts.catalogue import ClassLabel, filled, ids_by_key
from touchstone_runtime.words import is_unspaced

from touchstone_retrieval.ingest.captions import clean_caption, composed
from touchstone_retrieval.strategies.caption_search import CaptionSearch, searches_for


@dataclass(frozen=True)
class CaptionQuery:
    query: str
    """As it was stated."""
    search: CaptionSearch | str
    """The words that are looked for, or an RE2 pattern."""


def caption_queries(strategy: TextMatch, classes: Sequence[ClassLabel]) -> list[list[CaptionQuery]]:
    """By position in `classes`, without repeats. A key that names several classes asks for each of them."""
    own: dict[int, tuple[str, ...]] = {}
    ids = ids_by_key(classes)
    for key, queries in strategy.queries.items():
        own |= dict.fromkeys(ids.get(key, ()), queries)
    asked = [list(dict.fromkeys(own.get(label.id) or _names(strategy, label))) for label in classes]
    if strategy.mode == "regex":
        return [[*_patterns(each, label.id in own)] for each, label in zip(asked, classes, strict=True)]
    searches = iter(searches_for([query for each in asked for query in each], strategy.mode, strategy.plurals))
    return [[CaptionQuery(query, next(searches)) for query in each] for each in asked]


def _patterns(queries: Sequence[str], own: bool) -> Iterator[CaptionQuery]:
    for query in queries:
        if own:
            # Captions are in NFC; a pattern may have been typed in another form.
            yield CaptionQuery(query, composed(query))
        elif name := clean_caption(query):
            yield CaptionQuery(query, whole_words(name))


def _names(strategy: TextMatch, label: ClassLabel) -> Sequence[str]:
    if strategy.query_templates:
        return [filled(template, label.query) for template in strategy.query_templates]
    return label.query, *label.aliases


def whole_words(name: str) -> str:
    r"""An RE2 pattern for `name`, signs included, with neither letter nor digit beside it (RE2's own `\b` knows ASCII
    only). Beside a letter of a script without blanks anything may stand."""
    before, behind = (r"(?:^|[^\pL\pN])", r"(?:$|[^\pL\pN])")
    return "".join(
        (
            "" if is_unspaced(name[:1]) else before,
            r"\s+".join(map(re.escape, name.split())),
            "" if is_unspaced(name[-1:]) else behind,
        )
    )
