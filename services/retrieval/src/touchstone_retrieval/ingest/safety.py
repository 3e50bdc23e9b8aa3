"""How unsafe a table says an image is, in the forms that published tables use."""

import math
from collections.abc import Iterable

NSFW, UNRATED = "nsfw", "unrated"
"""Why a row is left out: it is said to be unsafe; a limit was asked for, and nothing is said."""
TAGS = {"unlikely": 0.0, "unsure": 0.5, "nsfw": 1.0, "false": 0.0, "true": 1.0}
"""In any case of letters; the first three are LAION's."""


def refused_as_unsafe(values: Iterable[object], most_unsafe: float | None) -> str:
    """Why a row is left out, or empty. Of several columns the one that tells of most counts. Without a limit, what is
    tagged exactly "NSFW" is left out ("UNLIKELY" and "UNSURE" stay: paper section 1.3)."""
    if most_unsafe is None:
        return NSFW if any(value in ("NSFW", b"NSFW") for value in values) else ""
    scores = [score for value in values if (score := unsafe_score(value)) is not None]
    if not scores:
        return UNRATED
    return NSFW if max(scores) > most_unsafe else ""


def unsafe_score(value: object) -> float | None:
    """0 is safe, 1 is not. None where a value says nothing of it."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        value = TAGS.get(value.strip().lower(), value)
    try:
        score = float(value)  # type: ignore[arg-type]  # whatever a table holds
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(score) or score < 0 else score
