"""Names as well as ids."""

import re
from collections.abc import Iterable, Iterator

from touchstone_contracts.problems import in_words
from touchstone_contracts.suggestions import some, unknown

from touchstone.errors import UnknownName

WHOLE_ID = re.compile(r"exp_[0-9a-f]{16,}|upstream/.+")


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
        raise UnknownName(f"{len(found)} experiments are called {text!r}; use an id: {in_words(some(found), 'or')}")
    raise UnknownName(unknown("experiment", text, [name for _, name in known] + [number for number, _ in known]))


def one_of(kind: str, text: str, names: Iterable[str]) -> str:
    """`text`, where it is one of `names`. Raises UnknownName, which suggests the nearest."""
    known = list(names)
    if text not in known:
        raise UnknownName(unknown(kind, text, known))
    return text


def ids_and_names(experiments: Iterable[tuple[str, str]], beginning: str) -> Iterator[tuple[str, str]]:
    """For completion: (what to type, what it is)."""
    for number, name in experiments:
        if number.startswith(beginning):
            yield number, name
        elif beginning and name.startswith(beginning):
            yield name, number
