"""What a reader should know of the seeds behind a verdict, in plain language."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.views import ComparisonResult, FailedRunCheck, SeedOverlap

from touchstone_verdict.words import points

MOSTLY_SHARED = 0.5
"""Above it the seeds of an arm say little about other images that the arm could have had."""


def spread_words(primary: ComparisonResult, confidence: float) -> str | None:
    """What the interval would be if nothing were borrowed; None where that is not known, or nothing was borrowed."""
    own = primary.own
    if own is None or (own.low, own.high) == (primary.low, primary.high):
        return None
    return (
        "The spread between seeds is borrowed from all arms and targets of the experiment. From the two arms alone the "
        f"{confidence * 100:g} % interval is {points(own.low)} to {points(own.high)}."
    )


def failed_run_words(check: FailedRunCheck, a: str, b: str) -> str:
    runs = ", ".join(f"{run.arm} at {run.target}, size {run.size}, seed {run.seed}" for run in check.runs)
    count = "1 run" if len(check.runs) == 1 else f"{len(check.runs)} runs"
    other = check.otherwise
    figures = (
        f"{a} minus {b} is {points(other.difference, signed=True)} points ({points(other.low)} to {points(other.high)})"
    )
    if check.left_out:
        return (
            f"{count} ended far below the other seeds on validation and are left out with their seed ({runs}): the "
            f"answer is about runs that do not fail. With them, {figures}."
        )
    return f"{count} ended far below the other seeds on validation ({runs}). Without their seeds, {figures}."


def paired_words(a: str, b: str) -> str:
    return f"{a} and {b} draw the same images or parents seed by seed, so their seeds are compared in pairs."


def overlap_words(overlap: Sequence[SeedOverlap]) -> Iterator[str]:
    """One sentence per arm and target, of the size with the largest overlap, where seeds share most of their images."""
    most: dict[tuple[str, str], SeedOverlap] = {}
    for entry in sorted(overlap, key=lambda entry: entry.shared):
        most[entry.target, entry.arm] = entry
    for (target, arm), entry in sorted(most.items()):
        if entry.shared > MOSTLY_SHARED:
            yield (
                f"{target}: two seeds of {arm} share {entry.shared:.0%} of their images at size {entry.size}, out of a "
                f"pool of {entry.pool}. The interval is about training on these images, not on others that the arm "
                "could have had."
            )
