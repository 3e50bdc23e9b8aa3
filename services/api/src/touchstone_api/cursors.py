"""Opaque cursors: where the next page starts, in a form nobody is tempted to build by hand.

A cursor names its list, so that one of another list is refused. Routes ask for `position: PositionHere`."""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request
from touchstone_contracts.problems import FieldError, Invalid

ItemT = TypeVar("ItemT")
_CURSOR = re.compile(r"(?P<list>[0-9a-f]{8})/(?P<after>[A-Za-z0-9._-]{1,80})")
_ROW = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Position:
    """Where a page of a list starts: after an item, or at the beginning."""

    list: str
    after: str | None = None

    @property
    def row(self) -> int:
        """In lists whose items are numbered: the last row of the page before, -1 for the first page. Raises Invalid."""
        if self.after is None:
            return -1
        if not _ROW.fullmatch(self.after):
            raise bad_cursor("not a cursor of this list")
        return int(self.after)

    def cut(
        self, items: Sequence[ItemT], limit: int, position: Callable[[ItemT], str]
    ) -> tuple[Sequence[ItemT], str | None]:
        """From up to limit + 1 items: the page and the cursor of the next one, None where there is none."""
        page = items[:limit]
        return page, self._cursor(position(page[-1])) if len(items) > limit else None

    def _cursor(self, after: str) -> str:
        return base64.urlsafe_b64encode(f"{self.list}/{after}".encode()).decode().rstrip("=")


def position_in_list(request: Request, cursor: Annotated[str | None, Query(max_length=200)] = None) -> Position:
    """A list is known by its path. Raises Invalid."""
    this = sha256(request.scope["path"].encode()).hexdigest()[:8]
    if cursor is None:
        return Position(this)
    found = _CURSOR.fullmatch(_decoded(cursor))
    if found is None:
        raise bad_cursor("not a cursor of this api")
    if found["list"] != this:
        raise bad_cursor("a cursor of another list")
    return Position(this, found["after"])


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:  # also of what is not base64, and of bytes that are not UTF-8
        raise bad_cursor("not a cursor of this api") from None


def bad_cursor(detail: str) -> Invalid:
    error = FieldError(pointer="/query/cursor", detail=detail)
    return Invalid("the cursor is not one that a page of this list gave", code="bad_cursor", errors=(error,))


PositionHere = Annotated[Position, Depends(position_in_list)]
