"""How far an experiment can be, and who watches it."""

from collections.abc import Callable

from touchstone_contracts.views import ExperimentDetail

FINISHED = frozenset({"succeeded", "failed", "cancelled"})

Watcher = Callable[[ExperimentDetail], None]
"""Sees the experiment from time to time while somebody waits for its end."""


def ignore(_: object) -> None:
    """For callers who only want the end."""
