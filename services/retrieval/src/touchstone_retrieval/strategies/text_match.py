"""Captions that contain the class's query or one of its aliases (paper section 1.2, stated exactly).

A caption is cut into tokens: maximal runs of letters and digits, lower-cased; everything else separates. `phrase`
wants the query's tokens adjacent and in order, `all_tokens` wants each of them anywhere. Tokens are compared whole and
unstemmed: `tiger` finds neither "tigers" nor "tigress", `A320` finds "A320-200". Of more matches than
`results_per_query`, the first in upstream order are taken. An image's caption that matches two classes counts for
both."""

import math

from touchstone_contracts.arms.retrieval import TextMatch
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.index.protocol import CaptionMatch
from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_by_text(strategy: TextMatch, upstream: SearchableUpstream, label: ClassLabel) -> Findings:
    """One query for `label.query` and one per alias; equal queries are asked once."""
    queries = list(dict.fromkeys((label.query, *label.aliases)))
    found = [
        Finding(label.id, row, f"text_match/{strategy.mode}/{number}", math.nan)
        for number, query in enumerate(queries)
        for row in upstream.match_text(CaptionMatch(strategy.mode, query), strategy.results_per_query)
    ]
    first, again = first_of_each_image(found, upstream.image_ids)
    return first, FindingReport(len(queries) * strategy.results_per_query, again, len(first))
