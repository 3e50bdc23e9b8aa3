"""Nearest neighbours of the filled-in retrieval templates (paper section 1.3).

No similarity threshold, as in the paper, unless the strategy bounds how far below its best hit a query may go."""

import math
from collections.abc import Iterator, Sequence

from touchstone_contracts.arms.retrieval import Semantic
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.index.protocol import Hit
from touchstone_retrieval.index.ties import DECIMALS
from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.upstream import SearchableUpstream

HITS_AT_A_TIME = 1_000_000
"""Bounds the memory of one batch of queries to about 100 MB."""


def find_by_meaning(
    strategy: Semantic, upstream: SearchableUpstream, classes: Sequence[ClassLabel], templates: Sequence[str]
) -> Iterator[Findings]:
    """Class by class, `results_per_query` neighbours for each (index, template), in that order.

    Classes are searched in batches: a batch is one matrix product where queries one by one are many small ones."""
    templates = strategy.templates or templates
    names = tuple(dict.fromkeys(strategy.indexes))
    hits_per_class = len(names) * len(templates) * strategy.results_per_query
    step = max(1, HITS_AT_A_TIME // hits_per_class)
    for batch in (classes[start : start + step] for start in range(0, len(classes), step)):
        texts = [template.replace("{name}", label.query) for label in batch for template in templates]
        vectors = upstream.embed_texts(texts)
        hits = {name: upstream.search(name, vectors, strategy.results_per_query) for name in names}
        for number, label in enumerate(batch):
            own = texts[number * len(templates) : (number + 1) * len(templates)]
            found = [finding for name in names for finding in _findings(label.id, f"semantic/{name}", own, hits[name])]
            limit = math.inf if strategy.max_below_best is None else strategy.max_below_best
            near = [finding for finding, below_best in found if below_best <= limit]
            first, again = first_of_each_image(near, upstream.image_ids)
            yield first, FindingReport(hits_per_class, again, len(first), too_far=len(found) - len(near))


def _findings(
    class_id: int, found_by: str, texts: Sequence[str], hits: Iterator[list[Hit]]
) -> Iterator[tuple[Finding, float]]:
    """Takes the hits of `texts`, one list each, from the front of `hits`; each with how far below its query's best."""
    for number, text in enumerate(texts):
        by, found = f"{found_by}/{number}", next(hits)
        for row, similarity in found:
            yield Finding(class_id, row, by, similarity, text), round(found[0].score - similarity, DECIMALS)
