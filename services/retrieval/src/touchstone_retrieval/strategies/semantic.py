"""Nearest neighbours of the filled-in retrieval templates (paper section 1.3).

No similarity threshold, as in the paper, unless the strategy bounds how far below its best hit a query may go."""

from collections.abc import Iterator, Mapping, Sequence

from touchstone_contracts.arms.retrieval import Semantic
from touchstone_contracts.catalogue import ClassLabel, filled

from touchstone_retrieval.index.protocol import Hit, VectorName
from touchstone_retrieval.index.ties import DECIMALS
from touchstone_retrieval.strategies.findings import Finding, FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.joined_results import first_of_each_group
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
        texts = [filled(template, label.query) for label in batch for template in templates]
        vectors = upstream.embed_texts(texts)
        hits = {name: upstream.search(name, vectors, strategy.results_per_query) for name in names}
        for number, label in enumerate(batch):
            own = texts[number * len(templates) : (number + 1) * len(templates)]
            results = {name: [next(hits[name]) for _ in own] for name in names}
            near = {name: [_near_best(strategy, one) for one in results[name]] for name in names}
            distinct = {name: [_distinct(strategy, upstream, name, one) for one in near[name]] for name in names}
            found = (finding for name in names for finding in _findings(label.id, name, own, distinct[name]))
            first, again = first_of_each_image(found, upstream.image_ids)
            too_far, joined = _count(results) - _count(near), _count(near) - _count(distinct)
            yield first, FindingReport(hits_per_class, again, len(first), near_duplicate=joined, too_far=too_far)


def _near_best(strategy: Semantic, hits: list[Hit]) -> list[Hit]:
    """Of one query's hits, best first."""
    if strategy.max_below_best is None:
        return hits
    return [hit for hit in hits if round(hits[0].score - hit.score, DECIMALS) <= strategy.max_below_best]


def _distinct(strategy: Semantic, upstream: SearchableUpstream, name: VectorName, hits: list[Hit]) -> list[Hit]:
    """Of one query's hits; compared by the embeddings that were searched."""
    if strategy.near_duplicate_cosine is None or not hits:
        return hits
    vectors = upstream.vectors(name, [hit.row for hit in hits])
    stays = first_of_each_group(vectors, strategy.near_duplicate_cosine)
    return [hit for hit, distinct in zip(hits, stays, strict=True) if distinct]


def _count(hits: Mapping[VectorName, Sequence[list[Hit]]]) -> int:
    return sum(len(of_query) for queries in hits.values() for of_query in queries)


def _findings(class_id: int, name: VectorName, texts: Sequence[str], hits: Sequence[list[Hit]]) -> Iterator[Finding]:
    for number, (text, of_query) in enumerate(zip(texts, hits, strict=True)):
        for row, similarity in of_query:
            yield Finding(class_id, row, f"semantic/{name}/{number}", similarity, text)
