"""Why there is no result to show yet, or ever."""

from typing import Self

from touchstone_contracts.problems import Invalid, Problem


class NotFinished(Invalid):
    """Asked too early: what decides the answer is still to come."""

    code = "not_finished"
    status = 409
    title = "Not finished yet"


class NotJudgeable(Invalid):
    """Judged, and there is nothing to say: fewer than two arms train, or they reached no common size."""

    status = 409
    title = "Nothing to compare"

    @classmethod
    def of(cls, problem: Problem) -> Self:
        return cls(problem.detail, code=problem.code)
