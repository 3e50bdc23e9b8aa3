"""Opaque cursors: where the next page starts, in a form nobody is tempted to build by hand."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from touchstone_contracts.problems import FieldError, Invalid

ItemT = TypeVar("ItemT")


def encode_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """Raises Invalid."""
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise bad_cursor("not a cursor of this api") from None


def bad_cursor(detail: str) -> Invalid:
    error = FieldError(pointer="/query/cursor", detail=detail)
    return Invalid("the cursor is not one that a page of this api gave", code="bad_cursor", errors=(error,))


def decode_row(cursor: str | None) -> int:
    """Where a cursor is a row's number: the last row of the page before, -1 for the first page. Raises Invalid."""
    text = decode_cursor(cursor)
    if text is None:
        return -1
    if not text.isdecimal():
        raise bad_cursor("not a cursor of this list")
    return int(text)


def cut_page(
    items: Sequence[ItemT], limit: int, position: Callable[[ItemT], str]
) -> tuple[Sequence[ItemT], str | None]:
    """From up to limit + 1 items: the page and the cursor of the next one, None where there is none."""
    page = items[:limit]
    return page, encode_cursor(position(page[-1])) if len(items) > limit else None
