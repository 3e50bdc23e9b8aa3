"""Creating what another process may create at the same moment."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from touchstone_contracts.problems import Transient

T = TypeVar("T")

TRIES = 4
"""Another process may create the same at the same moment; the second try finds it."""


def created_or_found(attempt: Callable[[], T], contended: str) -> T:
    """What `attempt` returns, which finds what is there or creates it in a transaction of its own. It is repeated where
    another process was first. Raises Transient with the detail `contended` where others always are."""
    for _ in range(TRIES):
        try:
            return attempt()
        except IntegrityError:
            continue
    raise Transient(f"{contended}; try again", code="contended")
