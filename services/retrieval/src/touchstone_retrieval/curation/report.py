"""Before and after curation, small enough for a result's JSON: counts by class, scores, closeness to the upstream."""

import numpy as np
from touchstone_contracts.curation import CurationReport, MemorisationReport, ScoreHistogram, drop_words

from touchstone_retrieval.curation.candidates import KEPT
from touchstone_retrieval.curation.ranks import at_least

BINS = 20
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def curation_report(
    scores: np.ndarray,
    reasons: np.ndarray,
    class_ids: np.ndarray,
    classes: int,
    memorisation: MemorisationReport | None = None,
) -> CurationReport:
    """scores, reasons (KEPT where an image stays) and class_ids are (n,)."""

    def by_class(images: np.ndarray) -> tuple[int, ...]:
        return tuple(np.bincount(class_ids[images], minlength=classes).tolist())

    kept = by_class(reasons == KEPT)
    return CurationReport(
        obtained_by_class=by_class(np.ones(len(reasons), dtype=bool)),
        dropped_by_class={reason: by_class(reasons == reason) for reason in _reasons_in_order(reasons)},
        kept_by_class=kept,
        class_coverage=float(np.mean(np.array(kept) > 0)),
        scores=_histogram(scores, reasons == KEPT) if len(scores) else None,
        memorisation=memorisation,
    )


def _reasons_in_order(reasons: np.ndarray) -> list[str]:
    """Those that dropped an image; one that is not registered comes last, and the report refuses it."""
    found = set(reasons.tolist()) - {KEPT}
    known = [reason for reason in drop_words() if reason in found]
    return [*known, *sorted(found - {*known})]


def _histogram(scores: np.ndarray, kept: np.ndarray) -> ScoreHistogram:
    obtained, edges = np.histogram(scores.astype(np.float64), bins=BINS)
    after, _ = np.histogram(scores[kept].astype(np.float64), bins=edges)
    return ScoreHistogram(edges=tuple(edges.tolist()), obtained=tuple(obtained.tolist()), kept=tuple(after.tolist()))


def memorisation_report(cosines: np.ndarray, threshold: float | None) -> MemorisationReport:
    """cosines (n,): of each synthetic image to its nearest upstream image, before anything was dropped."""
    quantiles = np.quantile(cosines.astype(np.float64), QUANTILES).tolist() if len(cosines) else []
    return MemorisationReport(
        images=len(cosines),
        cosine_quantiles={f"{at:g}": round(value, 6) for at, value in zip(QUANTILES, quantiles, strict=False)},
        threshold=threshold,
        share=float(at_least(cosines, threshold).mean()) if len(cosines) and threshold is not None else None,
    )
