"""Captions that contain the class's query or one of its aliases (paper section 1.2, stated exactly).

Captions and queries are cut into words by one function (touchstone_runtime.words). `phrase` wants the query's words
adjacent and in order, `all_tokens` wants each of them anywhere. `words_or_phrase` wants a phrase where the query holds
a hyphen or slash and is `all_tokens` elsewhere. `joined_words` wants every part between spaces anywhere, and the words
of each part as a phrase. Words are compared whole and unstemmed: `tiger` finds neither "tigers", unless `plurals` is
set, nor "tigress"; `A320` finds "A320-200". `regex` looks for RE2 patterns in the caption as it is, whatever its case,
in one scan of all captions per pattern. Of more matches than `results_per_query`, the first in upstream order are
taken. An image's caption that matches two classes counts for both."""

import math
from collections.abc import Iterator, Sequence

from touchstone_contracts.arms.retrieval import TextMatch
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.strategies.caption_queries import CaptionQuery, caption_queries
from touchstone_retrieval.strategies.caption_search import CaptionSearch
from touchstone_retrieval.strategies.findings import Asked, Finding, FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_by_text(
    strategy: TextMatch, upstream: SearchableUpstream, classes: Sequence[ClassLabel]
) -> Iterator[Findings]:
    """Class by class, each query in turn. Raises Invalid at a pattern the engine refuses."""
    asked = caption_queries(strategy, classes)
    searches = [each.search for queries in asked for each in queries if isinstance(each.search, CaptionSearch)]
    by_words = iter(upstream.match_words(searches, strategy.results_per_query))

    def rows(query: CaptionQuery) -> list[int]:
        if isinstance(query.search, CaptionSearch):
            return next(by_words).tolist()
        return upstream.match_pattern(query.search, strategy.results_per_query)

    for label, queries in zip(classes, asked, strict=True):
        matches = [rows(query) for query in queries]
        found = [
            Finding(label.id, row, f"text_match/{strategy.mode}/{number}", math.nan, query.query)
            for number, (query, matching) in enumerate(zip(queries, matches, strict=True))
            for row in matching
        ]
        first, again = first_of_each_image(found, upstream.image_ids)
        searched = tuple(
            Asked(label.id, query.query, str(query.search), len(matching))
            for query, matching in zip(queries, matches, strict=True)
        )
        yield first, FindingReport(len(queries) * strategy.results_per_query, again, len(first), asked=searched)
