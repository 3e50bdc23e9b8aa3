"""Why there is no result to show yet, or ever."""

from touchstone_contracts.problems import Invalid


class NotFinished(Invalid):
    """Asked too early: the primary comparison still lacks evaluations."""

    code = "not_finished"
    status = 409
    title = "Not finished yet"


class NoComparison(Invalid):
    """The experiment compares nothing: fewer than two arms train."""

    code = "no_comparison"
    status = 409
    title = "Nothing to compare"
