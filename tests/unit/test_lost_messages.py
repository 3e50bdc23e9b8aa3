"""When a message that nobody has started on counts as lost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from touchstone_conductor.lost_messages import Fate, LostMessages

START = datetime(2026, 1, 1, tzinfo=UTC)


class Rounds:
    """One look for each lease that ran out, in each round; a lease that is told to be lost is given up."""

    def __init__(self, unstarted: int) -> None:
        self.messages, self.unstarted, self.now = LostMessages(timedelta(seconds=5)), unstarted, START

    def pass_to(self, second: float, *, waiting: int, looks: int = 1) -> list[Fate]:
        self.now = START + timedelta(seconds=second)
        self.messages.begin_round()
        fates: list[Fate] = []
        for _ in range(looks):
            fate = self.messages.fate("trainer", unstarted=self.unstarted, waiting=waiting, now=self.now)
            self.unstarted -= fate == "lost"
            fates.append(fate)
        return fates


def test_as_many_messages_as_leases_wait_behind_busy_workers() -> None:
    assert Rounds(3).pass_to(0, waiting=3, looks=3) == ["waits"] * 3
    assert Rounds(3).pass_to(0, waiting=7) == ["waits"], "older messages of the same steps wait too"


def test_a_flushed_broker_is_believed_after_a_while() -> None:
    rounds = Rounds(3)
    assert rounds.pass_to(0, waiting=0, looks=3) == ["unknown"] * 3
    assert rounds.pass_to(4.9, waiting=0, looks=3) == ["unknown"] * 3
    assert rounds.pass_to(5, waiting=0, looks=3) == ["lost"] * 3


def test_as_many_are_lost_as_were_missing_at_every_look() -> None:
    rounds = Rounds(10)
    for second, waiting in ((0, 5), (1, 8), (2, 4), (5, 6)):
        fates = rounds.pass_to(second, waiting=waiting, looks=4)
    assert fates == ["lost", "lost", "unknown", "unknown"]


def test_a_gap_that_closes_or_is_not_looked_at_starts_anew() -> None:
    rounds = Rounds(2)
    assert rounds.pass_to(0, waiting=1) == ["unknown"]
    assert rounds.pass_to(3, waiting=2) == ["waits"]
    assert rounds.pass_to(6, waiting=1) == ["unknown"]
    assert rounds.pass_to(7, waiting=1, looks=0) == []
    assert rounds.pass_to(12, waiting=1) == ["unknown"]
    assert rounds.pass_to(17, waiting=1) == ["lost"]


@given(
    lost=st.integers(0, 3),
    in_transit=st.lists(st.integers(0, 3), min_size=8, max_size=30),
)
def test_what_is_on_its_way_is_never_given_up_and_what_is_lost_always_is(lost: int, in_transit: list[int]) -> None:
    """One look a second; `in_transit` were taken and not yet reported, at every fourth look none."""
    in_transit = [0 if second % 4 == 3 else underway for second, underway in enumerate(in_transit)]
    rounds, given_up = Rounds(20), 0
    for second, underway in enumerate(in_transit):
        waiting = 20 - lost - underway
        given_up += rounds.pass_to(second, waiting=waiting, looks=4).count("lost")
    assert given_up == lost
