"""Paths of requests. What somebody typed as a name leads to nothing but what has that name."""

from urllib.parse import quote

from touchstone.errors import UnknownName


def path_of(*segments: str) -> str:
    """ "/v1/..." with a part for each segment, quoted. Raises UnknownName for what nothing can be called."""
    for segment in segments:
        if not segment or "/" in segment or segment in (".", ".."):
            raise UnknownName(f"nothing is called {segment!r}: names are made of letters, digits, '.', '_' and '-'")
    return "/".join(["/v1", *(quote(segment, safe="") for segment in segments)])
