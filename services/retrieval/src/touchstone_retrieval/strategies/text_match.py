"""Captions that contain the class's query or one of its aliases (paper section 1.2, stated exactly).

A caption is cut into tokens: maximal runs of letters and digits, lower-cased; everything else separates. `phrase`
wants the query's tokens adjacent and in order, `all_tokens` wants each of them anywhere. `words_or_phrase` wants a
phrase where the query holds a hyphen or slash and is `all_tokens` elsewhere. `joined_words` wants every part between
spaces anywhere, and the tokens of each part as a phrase. Tokens are compared whole and unstemmed: `tiger` finds neither
"tigers" nor "tigress", `A320` finds "A320-200". `regex` looks for RE2 patterns in the caption as it is, whatever its
case, in one scan of all captions per pattern. Of more matches than `results_per_query`, the first in upstream order are
taken. An image's caption that matches two classes counts for both."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from touchstone_contracts.arms.retrieval import TextMatch
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.index.protocol import CaptionMatch, MatchMode
from touchstone_retrieval.strategies.caption_queries import caption_queries
from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_by_text(
    strategy: TextMatch, upstream: SearchableUpstream, classes: Sequence[ClassLabel]
) -> Iterator[Findings]:
    """Class by class, each query in turn. Raises Invalid at a pattern the engine refuses."""
    for label, queries in zip(classes, caption_queries(strategy, classes), strict=True):
        found = [
            Finding(label.id, row, f"text_match/{strategy.mode}/{number}", math.nan, query)
            for number, query in enumerate(queries)
            for row in _rows(strategy, upstream, query)
        ]
        first, again = first_of_each_image(found, upstream.image_ids)
        yield first, FindingReport(len(queries) * strategy.results_per_query, again, len(first))


def _rows(strategy: TextMatch, upstream: SearchableUpstream, query: str) -> list[int]:
    if strategy.mode == "regex":
        return upstream.match_pattern(query, strategy.results_per_query)
    return upstream.match_text(CaptionMatch(_match_mode(strategy.mode, query), query), strategy.results_per_query)


def _match_mode(mode: Literal["phrase", "all_tokens", "words_or_phrase", "joined_words"], query: str) -> MatchMode:
    if mode == "words_or_phrase":
        return "phrase" if "-" in query or "/" in query else "all_tokens"
    return mode
