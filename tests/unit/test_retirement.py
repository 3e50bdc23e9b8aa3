"""When a step that nobody serves is given up, and what it is told."""

from datetime import UTC, datetime, timedelta

import pytest
from touchstone_conductor.retirement import Retirement, StoredContract, retired
from touchstone_contracts.steps import ADAPT_ENCODER

START = datetime(2026, 1, 1, tzinfo=UTC)
OLD, LATER = (StoredContract(ADAPT_ENCODER.name, version) for version in (1, ADAPT_ENCODER.version + 1))
UNKNOWN = StoredContract("paint_mural", 1)


def due(retirement: Retirement, second: float, *unserved: StoredContract) -> list[StoredContract]:
    return retirement.due(unserved, START + timedelta(seconds=second))


def test_an_earlier_version_is_given_up_when_nobody_served_it_for_a_while() -> None:
    retirement = Retirement(patience=timedelta(seconds=30), rollout=timedelta(seconds=600))
    assert due(retirement, 0, OLD) == []
    assert due(retirement, 29, OLD) == []
    assert due(retirement, 30, OLD) == [OLD]


def test_a_worker_that_comes_back_in_between_starts_the_count_anew() -> None:
    retirement = Retirement(patience=timedelta(seconds=30), rollout=timedelta(seconds=600))
    due(retirement, 0, OLD)
    assert due(retirement, 20) == []
    assert due(retirement, 40, OLD) == []
    assert due(retirement, 70, OLD) == [OLD]


def test_what_a_later_release_planned_waits_as_long_as_a_rollout_may_take() -> None:
    retirement = Retirement(patience=timedelta(seconds=30), rollout=timedelta(seconds=600))
    assert due(retirement, 0, LATER, UNKNOWN) == []
    assert due(retirement, 599, LATER, UNKNOWN) == []
    assert due(retirement, 600, LATER, UNKNOWN) == [LATER, UNKNOWN]


@pytest.mark.parametrize(
    ("contract", "facts"),
    [
        (OLD, ("adapt_encoder version 1", "no longer serves", f"today's is {ADAPT_ENCODER.version}")),
        (LATER, (f"adapt_encoder version {ADAPT_ENCODER.version + 1}", "newer than this release's", "downgraded")),
        (UNKNOWN, ("paint_mural version 1", "does not know that kind")),
    ],
)
def test_the_problem_says_what_was_planned_why_it_cannot_be_done_and_both_ways_on(
    contract: StoredContract, facts: tuple[str, ...]
) -> None:
    problem = retired(contract)
    assert problem.code == "contract_retired"
    for fact in (*facts, "Start a worker", "retry the experiment", "post the experiment again"):
        assert fact in problem.detail
