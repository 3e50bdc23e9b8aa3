"""Regular expressions are RE2's, which matches in linear time; what a pattern may cost is compiling it."""

import time
from collections.abc import Iterable, Iterator

from touchstone_contracts.problems import FieldError

MOST_SECONDS = 1.0
"""Of CPU, for all patterns of a document. A word takes 10 us, `[^\\pL\\pN]` almost 1 ms, the slowest pattern 200."""


def pattern_problem(pattern: str) -> str:
    """What the engine that will search with it says; empty if it accepts the pattern."""
    # Imported here: it is large, and few requests hold a pattern.
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.scalar(""), pattern, ignore_case=True)
    except pa.ArrowInvalid as error:
        return str(error)
    return ""


def impossible_patterns(patterns: Iterable[tuple[str, str]]) -> Iterator[FieldError]:
    """`patterns`: JSON pointer and pattern of each. Ends with an error once they have taken MOST_SECONDS."""
    began = time.thread_time()
    for pointer, pattern in patterns:
        if time.thread_time() - began > MOST_SECONDS:
            detail = (
                f"the patterns before this one take more than {MOST_SECONDS:g} s to compile: use fewer of them, fewer "
                r"repetitions, or \b instead of [^\pL\pN]"
            )
            yield FieldError(pointer=pointer, detail=detail)
            return
        if problem := pattern_problem(pattern):
            yield FieldError(pointer=pointer, detail=problem)
