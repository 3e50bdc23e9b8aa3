"""How close the kept images come to the target's test images."""

import numpy as np
from touchstone_contracts.label_card import TestSimilarity

from touchstone_retrieval.audit.audited import Audited

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def measure_test_similarity(audited: Audited) -> TestSimilarity | None:
    """None where nothing was compared."""
    cosines = audited.test_cosines[~np.isnan(audited.test_cosines)].astype(np.float64)
    if not len(cosines):
        return None
    values = np.quantile(cosines, QUANTILES).tolist()
    return TestSimilarity(
        cosine_quantiles={f"{at:g}": round(value, 6) for at, value in zip(QUANTILES, values, strict=True)}
    )
