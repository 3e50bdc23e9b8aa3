"""Every measure of a label card, by the name of its field there."""

from collections.abc import Callable
from typing import Any

from touchstone_contracts.label_card import LabelCard
from touchstone_contracts.registry import Registry

from touchstone_retrieval.audit.agreement import measure_agreement
from touchstone_retrieval.audit.audited import Audited
from touchstone_retrieval.audit.balance import measure_balance
from touchstone_retrieval.audit.captions import measure_captions
from touchstone_retrieval.audit.closeness_to_test import measure_test_similarity
from touchstone_retrieval.audit.distribution import measure_distribution
from touchstone_retrieval.audit.diversity import measure_diversity
from touchstone_retrieval.audit.several_labels import measure_several_labels

MEASURES = Registry[Callable[[Audited], Any]]("measure of a pool")
MEASURES.register("agreement", measure_agreement)
MEASURES.register("captions", measure_captions)
MEASURES.register("labels", measure_several_labels)
MEASURES.register("balance", measure_balance)
MEASURES.register("diversity", measure_diversity)
MEASURES.register("test_similarity", measure_test_similarity)
MEASURES.register("distribution", measure_distribution)


def label_card(audited: Audited) -> LabelCard:
    return LabelCard(images=len(audited.class_ids), **{name: measure(audited) for name, measure in MEASURES.items()})
