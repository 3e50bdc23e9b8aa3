"""Nearest neighbours of the filled-in retrieval templates (paper section 1.3).

No similarity threshold, as in the paper: filtering is curation's."""

from collections.abc import Sequence

from touchstone_contracts.arms.retrieval import Semantic
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_by_meaning(
    strategy: Semantic, upstream: SearchableUpstream, label: ClassLabel, templates: Sequence[str]
) -> Findings:
    """`results_per_query` neighbours for each (index, template), in that order."""
    texts = [template.replace("{name}", label.query) for template in templates]
    found = [
        Finding(label.id, hit.row, f"semantic/{name}/{number}", hit.score)
        for name in dict.fromkeys(strategy.indexes)
        for number, hits in enumerate(upstream.search(name, texts, strategy.results_per_query))
        for hit in hits
    ]
    first, again = first_of_each_image(found, upstream.image_ids)
    requested = len(set(strategy.indexes)) * len(texts) * strategy.results_per_query
    return first, FindingReport(requested, again, len(first))
