"""What somebody may have meant by a name or a field that is not known: one function for server and client."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from heapq import nlargest
from itertools import islice
from typing import Any

from touchstone_contracts.problems import in_words

MOST_LISTED = 8
MOST_NAMES = 10_000
"""That are looked through."""
MOST_LETTERS = 100
"""Of a text or name that are compared."""
CLOSELY_COMPARED = 50
"""The names that share most pairs of letters; comparing all 10,000 closely would take a second."""
MOST_SUGGESTED = 10
"""Errors of one document that come with a suggestion; the others are named alone."""
ALIKE = 0.6
"""The least ratio of difflib at which a name is suggested."""

SUGGESTED = {"extra_forbidden", "union_tag_invalid", "literal_error", "enum"}
"""Types of pydantic's errors that are about a field or value that is not known."""


def nearest(text: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names that look like it, the nearest first. Letter case makes no difference."""
    wanted = text[:MOST_LETTERS].lower()
    lowered = {name[:MOST_LETTERS].lower(): name for name in islice(names, MOST_NAMES)}
    pairs = _pairs(wanted)
    likely = nlargest(CLOSELY_COMPARED, lowered, key=lambda name: _shared(pairs, name))
    return [lowered[name] for name in get_close_matches(wanted, likely, n=most, cutoff=ALIKE)]


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)} | set(text[:1])


def _shared(pairs: set[str], name: str) -> float:
    """Sørensen-Dice coefficient of the pairs of letters."""
    others = _pairs(name)
    return len(pairs & others) / (len(pairs) + len(others) or 1)


def did_you_mean(text: str, names: Iterable[str], most: int = 3) -> str:
    """ "did you mean 'flags'?", or an empty string."""
    near = nearest(text, names, most)
    return f"did you mean {in_words([repr(name) for name in near], 'or')}?" if near else ""


def suggestion(text: str, names: Sequence[str]) -> str:
    """The nearest names, or else what there is."""
    if meant := did_you_mean(text, names):
        return meant
    if not names:
        return "there are none yet"
    if len(set(names)) == 1:
        return f"there is only {names[0]!r}"
    return f"there are {in_words([repr(name) for name in some(list(dict.fromkeys(names)))], 'and')}"


def some(names: Sequence[str]) -> list[str]:
    """The first of them, and how many more there are."""
    more = len(names) - MOST_LISTED
    return [*names[:MOST_LISTED], *([f"{more} more"] if more > 0 else [])]


def unknown(kind: str, text: str, names: Sequence[str]) -> str:
    """A message that says what is unknown and what was meant, or what there is."""
    return f"there is no {kind} {text!r}; {suggestion(text, names)}"


def unknown_value(detail: Mapping[str, Any], fields: Iterable[str]) -> str | None:
    """One of pydantic's errors about a field, kind or value that is not known, in plain words and with the nearest.
    None: it is about something else. `fields`: names of fields that there are."""
    if detail["type"] not in SUGGESTED:
        return None
    if detail["type"] == "extra_forbidden":
        return _with("there is no such field", str(detail["loc"][-1]), fields)
    facts = detail.get("ctx", {})
    allowed = str(facts.get("expected_tags", facts.get("expected", "")))
    text = facts.get("tag", detail.get("input"))
    if not isinstance(text, str):
        return None
    return _with(f"{text[:MOST_LETTERS]!r} is not one of {allowed}", text, allowed.split("'")[1::2])


def _with(message: str, text: str, names: Iterable[str]) -> str:
    return "; ".join(filter(None, (message, did_you_mean(text, names, most=1))))
