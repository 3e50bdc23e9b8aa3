"""How much of each fault is tried, and what was counted."""

from dataclasses import dataclass

import pytest

only_whole = pytest.mark.only_whole_faults
"""For what `make faults` tries and other runs of the tests do not."""
COUNTED = "counted"
"""What reports of tests call it."""


@dataclass(frozen=True)
class Amounts:
    """How much of each kind is tried: the whole by `make faults`, a part of it in every run of the tests."""

    kills: int = 6
    crash_points: int = 3
    """Of each phase."""
    outage_seconds: float = 8.0
    schedules: int = 600
    """Divided among the seeds."""
    training_images: int = 44
    """In batches of one."""
    training_epochs: int = 24
    training_kills: int = 2
    spoilt_images: int = 24
    minute: float = 8.0
    """What a minute is, in seconds."""


WHOLE = Amounts(
    kills=100,
    crash_points=10**6,
    outage_seconds=600.0,
    schedules=100_000,
    training_images=120,
    training_epochs=1000,
    training_kills=10,
    spoilt_images=100,
    minute=60.0,
)


@dataclass(frozen=True)
class Tally:
    """What a test counts; printed when all tests are done, whichever process ran it."""

    item: pytest.Item

    def __call__(self, what: str) -> None:
        self.item.user_properties.append((COUNTED, f"{self.item.name}: {what}"))
