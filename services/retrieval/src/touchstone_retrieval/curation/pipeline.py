"""From candidates to what is kept of them, and the counts of both.

Images are taken in the order of their ids, so neither the order they came in nor a tie decides what stays."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import STAGES, Curation, CurationCounts, stage_of, stage_words
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.curation.candidates import KEPT, Candidates, Curated, References
from touchstone_retrieval.curation.clip_score import own_class_scores
from touchstone_retrieval.curation.nearest import nearest_images, nearest_of_parts
from touchstone_retrieval.curation.stages import Curating, run_stages


def curate(
    candidates: Candidates,
    class_vectors: np.ndarray,
    references: References,
    rules: Curation,
    classes: Sequence[ClassLabel] = (),
    progress: ProgressFunction = no_progress,
) -> Curated:
    """class_vectors (classes, d) are L2-normalised; `classes` are needed by a filter that names some."""
    order = np.lexsort((candidates.class_ids, np.array(candidates.image_ids, dtype=np.str_)))
    ordered = candidates.take(order)
    compared = _compare(ordered, class_vectors, references)
    run_stages(Curating(ordered, compared, references, rules, classes, progress))
    return compared.take(np.argsort(order))


def _compare(candidates: Candidates, class_vectors: np.ndarray, references: References) -> Curated:
    """Nothing dropped yet."""
    images, validation, upstream = candidates.compared, references.validation, references.upstream
    return Curated(
        scores=own_class_scores(candidates.images, class_vectors, candidates.class_ids),
        reasons=np.full(len(images), KEPT, dtype=object),
        nearest=nearest_images(images, references.test.images),
        nearest_validation=None if validation is None else nearest_images(images, validation.images),
        nearest_upstream=None if upstream is None else nearest_of_parts(images, upstream),
    )


def count_stages(reasons: np.ndarray, class_ids: np.ndarray, classes: int, requested: int) -> CurationCounts:
    """reasons and class_ids (n,), KEPT where an image stays."""
    dropped = Counter(map(stage_of, reasons.tolist()))
    kept = np.bincount(class_ids[reasons == KEPT], minlength=classes)
    return CurationCounts(
        requested=requested,
        obtained=len(reasons),
        kept=int(kept.sum()),
        classes_without_images=tuple(np.flatnonzero(kept == 0).tolist()),
        **{stage: dropped[stage] for stage in stage_words() if stage not in STAGES},
        further={stage: dropped[stage] for stage in stage_words() if stage in STAGES and dropped[stage]},
    )
