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
        error = FieldError(pointer="/query/cursor", detail="not a cursor of this api")
        raise Invalid(
            "the cursor is not one that a page of this api gave", code="bad_cursor", errors=(error,)
        ) from None


def cut_page(
    items: Sequence[ItemT], limit: int, position: Callable[[ItemT], str]
) -> tuple[Sequence[ItemT], str | None]:
    """From up to limit + 1 items: the page and the cursor of the next one, None where there is none."""
    page = items[:limit]
    return page, encode_cursor(position(page[-1])) if len(items) > limit else None
