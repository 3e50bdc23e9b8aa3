"""Names as well as ids, and the nearest one where there is none."""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from touchstone_contracts.problems import in_words

from touchstone.errors import UnknownName

WHOLE_ID = re.compile(r"exp_[0-9a-f]{16,}|upstream/.+")
MOST_LISTED = 8


def looks_like_id(text: str) -> bool:
    """Whole: the server is asked for it as it is."""
    return WHOLE_ID.fullmatch(text) is not None


def chosen(text: str, experiments: Iterable[tuple[str, str]]) -> str:
    """The id of the experiment with this name, or whose id begins like this. Raises UnknownName unless it is one."""
    known = list(experiments)
    found = [number for number, name in known if name == text or number == text]
    found = found or [number for number, _ in known if text.startswith("exp_") and number.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownName(f"{len(found)} experiments are called {text!r}; use an id: {in_words(_some(found), 'or')}")
    raise UnknownName(unknown("experiment", text, [name for _, name in known] + [number for number, _ in known]))


def one_of(kind: str, text: str, names: Iterable[str]) -> str:
    """`text`, where it is one of `names`. Raises UnknownName, which suggests the nearest."""
    known = list(names)
    if text not in known:
        raise UnknownName(unknown(kind, text, known))
    return text


def unknown(kind: str, text: str, names: Sequence[str]) -> str:
    """A message that says what is unknown and what was meant, or what there is."""
    return f"there is no {kind} {text!r}; {suggestion(text, names)}"


def suggestion(text: str, names: Sequence[str]) -> str:
    if near := nearest(text, names):
        return f"did you mean {in_words([repr(name) for name in near], 'or')}?"
    if not names:
        return "there are none yet"
    return f"there are {in_words([repr(name) for name in _some(list(dict.fromkeys(names)))], 'and')}"


def nearest(text: str, names: Iterable[str]) -> list[str]:
    """At most three that look like it, the nearest first."""
    lowered = {name.lower(): name for name in names}
    return [lowered[each] for each in get_close_matches(text.lower(), lowered, n=3, cutoff=0.6)]


def _some(names: Sequence[str]) -> list[str]:
    more = len(names) - MOST_LISTED
    return [*names[:MOST_LISTED], *([f"{more} more"] if more > 0 else [])]


def ids_and_names(experiments: Iterable[tuple[str, str]], beginning: str) -> Iterator[tuple[str, str]]:
    """For completion: (what to type, what it is)."""
    for number, name in experiments:
        if number.startswith(beginning):
            yield number, name
        elif beginning and name.startswith(beginning):
            yield name, number
