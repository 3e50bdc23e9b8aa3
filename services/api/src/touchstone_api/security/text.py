"""Text that a database or a JSON answer cannot hold is refused before any route runs, wherever in a request it stands:
in an address before anything is looked up by it, in a body once its sender may send it.

Refused are control characters (of which NUL is one), lone surrogates, and bytes that are not UTF-8. Bodies may hold
tabs and line breaks, paths and queries may not."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

from fastapi import Request
from touchstone_contracts.problems import FieldError, Invalid

_IN_BODIES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_IN_ADDRESSES = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPED = re.compile(rb"\\[bf]|\\u00[0189]|\\u007f|\\ud[89a-f]|\x7f|\xc2[\x80-\x9f]", re.IGNORECASE)
"""What a JSON document must contain, in bytes, to hold such text: nearly every document is read no further."""
_WITH_BODIES = frozenset({"POST", "PUT", "PATCH"})
_DETAIL = "control characters and lone surrogates are not allowed, and text must be UTF-8"
MOST_ERRORS = 20
"""Named in one answer."""


def refuse_unstorable_address(request: Request) -> None:
    """A dependency of the whole app. Raises Invalid with a pointer to each text."""
    _refuse(_in_address(request))


async def refuse_unstorable_body(request: Request) -> None:
    """A dependency of what takes JSON. Raises Invalid with a pointer to each text."""
    if request.method in _WITH_BODIES and _ESCAPED.search(await request.body()):
        _refuse(_in_document(await _document(request)))


def _refuse(found: Iterator[str]) -> None:
    if pointers := list(found):
        errors = tuple(FieldError(pointer=_printable(pointer), detail=_DETAIL) for pointer in pointers[:MOST_ERRORS])
        raise Invalid(f"{errors[0].pointer or 'body'}: {_DETAIL}", code="invalid_text", errors=errors)


def _in_address(request: Request) -> Iterator[str]:
    # Bytes that are not UTF-8 become lone surrogates here; in the decoded path they are replaced already.
    if _IN_ADDRESSES.search(unquote(request.scope["raw_path"].decode("latin-1"), errors="surrogateescape")):
        yield "/path"
    query = request.scope["query_string"].decode("latin-1")
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        if _IN_ADDRESSES.search(name) or _IN_ADDRESSES.search(value):
            yield f"/query/{name}"


async def _document(request: Request) -> Any:
    """What FastAPI has parsed. None where the body is no JSON: then nothing reads its text."""
    try:
        return await request.json()
    except (ValueError, RecursionError):
        return None


def _in_document(document: Any, pointer: str = "") -> Iterator[str]:
    """JSON pointers (RFC 6901) to keys and values."""
    if isinstance(document, str):
        if _IN_BODIES.search(document):
            yield pointer
    elif isinstance(document, dict):
        for key, value in document.items():
            inner = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            if _IN_BODIES.search(key):
                yield inner
            yield from _in_document(value, inner)
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _in_document(value, f"{pointer}/{index}")


def _printable(pointer: str) -> str:
    return _IN_ADDRESSES.sub(lambda found: f"\\u{ord(found[0]):04x}", pointer)
