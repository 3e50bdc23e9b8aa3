"""The stages of curation, in their order. Each sees what the earlier ones left, so a leaked image that is removed first
neither shadows its duplicates nor shifts a quantile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import Curation
from touchstone_contracts.registry import Implementations
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.curation.candidates import Candidates, Curated, HeldOutImages, References
from touchstone_retrieval.curation.cap import within_cap
from touchstone_retrieval.curation.decontamination import leaked
from touchstone_retrieval.curation.filters import apply_rule
from touchstone_retrieval.curation.label_conflicts import without_label_conflicts
from touchstone_retrieval.curation.near_duplicates import without_near_duplicates
from touchstone_retrieval.curation.nearest import Nearest
from touchstone_retrieval.curation.ranks import at_least


@dataclass(frozen=True)
class Curating:
    """What a stage works on; it drops images in `curated`."""

    candidates: Candidates
    curated: Curated
    references: References
    rules: Curation
    classes: Sequence[ClassLabel] = ()
    """Needed by a filter that names some."""
    progress: ProgressFunction = no_progress

    def left(self) -> np.ndarray:
        """Rows that no earlier stage dropped."""
        return np.flatnonzero(self.curated.kept)


def drop_placeholders(curating: Curating) -> None:
    candidates = curating.candidates
    gone = [image_id in candidates.placeholders for image_id in candidates.image_ids]
    curating.curated.drop("placeholder", np.array(gone, dtype=bool))


def drop_leaked(curating: Curating) -> None:
    if "test" in curating.rules.leak_splits:
        _drop_leaks(curating, "leaked", curating.curated.nearest, curating.references.test)


def drop_leaked_validation(curating: Curating) -> None:
    nearest, validation = curating.curated.nearest_validation, curating.references.validation
    if nearest is not None and validation is not None:
        _drop_leaks(curating, "leaked_validation", nearest, validation)


def _drop_leaks(curating: Curating, reason: str, nearest: Nearest, held_out: HeldOutImages) -> None:
    ids, leak_cosine = curating.candidates.image_ids, curating.rules.leak_cosine
    curating.curated.drop(reason, leaked(nearest, ids, held_out.image_ids, leak_cosine))


def drop_familiar(curating: Curating) -> None:
    nearest, novelty_cosine = curating.curated.nearest_upstream, curating.rules.novelty_cosine
    if nearest is not None and novelty_cosine is not None:
        curating.curated.drop("familiar", at_least(nearest.cosine, novelty_cosine))


def drop_label_conflicts(curating: Curating) -> None:
    left, candidates = curating.left(), curating.candidates
    part, scores = candidates.take(left), curating.curated.scores[left]
    stays = without_label_conflicts(curating.rules.label_conflicts, part.image_ids, part.class_ids, scores)
    curating.curated.drop("label_conflict", ~stays, left)


def drop_near_duplicates(curating: Curating) -> None:
    minimum_cosine = curating.rules.near_duplicate_cosine
    if minimum_cosine is not None:
        left = curating.left()
        part, scores = curating.candidates.take(left), curating.curated.scores[left]
        stays = without_near_duplicates(
            part.compared, part.image_ids, scores, part.class_ids, minimum_cosine, curating.progress
        )
        curating.curated.drop("near_duplicate", ~stays, left)


def drop_filtered(curating: Curating) -> None:
    for rule in curating.rules.score_rules:
        left = curating.left()
        scores, class_ids = curating.curated.scores[left], curating.candidates.class_ids[left]
        stays = apply_rule(rule, scores, class_ids, curating.classes)
        curating.curated.drop(curating.rules.drop_reason(rule), ~stays, left)


def drop_over_cap(curating: Curating) -> None:
    left = curating.left()
    scores, class_ids = curating.curated.scores[left], curating.candidates.class_ids[left]
    curating.curated.drop("over_cap", ~within_cap(scores, class_ids, curating.rules.per_class_cap), left)


LEAKS = {"leaked": drop_leaked, "leaked_validation": drop_leaked_validation}
FIRST = {"placeholder": drop_placeholders} | LEAKS | {"familiar": drop_familiar}
LAST = {
    "label_conflict": drop_label_conflicts,
    "near_duplicate": drop_near_duplicates,
    "filtered": drop_filtered,
    "over_cap": drop_over_cap,
}
"""What every curation goes through, by stage; leaks may wait for the end."""

STAGE_FUNCTIONS = Implementations[Callable[[Any, Candidates], np.ndarray]]("curation stage")
"""(further stage, candidates that are left) -> bool (n,): which stay."""


def run_stages(curating: Curating) -> None:
    """Raises Invalid at a further stage that is not registered."""
    further = [(stage, STAGE_FUNCTIONS.of(stage)) for stage in curating.rules.stages]
    leaks_last = curating.rules.leaks_removed == "last"
    for name, drop in FIRST.items():
        if not (leaks_last and name in LEAKS):
            drop(curating)
    for stage, stays in further:
        left = curating.left()
        curating.curated.drop(stage.kind, ~stays(stage, curating.candidates.take(left)), left)
    for drop in (*LAST.values(), *(LEAKS.values() if leaks_last else ())):
        drop(curating)
