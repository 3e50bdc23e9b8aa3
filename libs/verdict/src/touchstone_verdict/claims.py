"""What a verdict claims and what it does not: against the untouched encoder, of which targets, and what may yet decide.

Numbers are in points. Free of scipy: pages use it too."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.experiment import Comparison
from touchstone_contracts.views import Answer, BaselineCheck, ComparisonResult, DecisionChance, TargetSample

from touchstone_verdict.words import answer_words, measure_words, points


def headline(
    comparison: Comparison,
    primary: ComparisonResult,
    against_untouched: Sequence[BaselineCheck] = (),
    targets: int = 1,
    sample: TargetSample | None = None,
) -> str:
    """One to five sentences: whether training helped at all comes before which arm is better, and on which targets.

    `against_untouched`: of the two arms compared in the comparison's metric, over targets and sizes."""
    sentences = [
        *_untouched_words(comparison, against_untouched),
        answer_words(comparison, primary, f" on these {targets} targets" if targets > 1 else ""),
    ]
    return " ".join([*sentences, _sample_words(sample, comparison)] if sample else sentences)


def _untouched_words(comparison: Comparison, checks: Sequence[BaselineCheck]) -> Iterator[str]:
    """Nothing where both arms are shown to improve."""
    found = {check.arm: check for check in checks}
    if len(found) < 2:
        return
    a, b = found[comparison.a], found[comparison.b]
    measure = measure_words(comparison.metric, comparison.test_set)
    level = f"{comparison.confidence * 100:g} %"
    if not (a.above or b.above):
        yield (
            f"Neither {a.arm} nor {b.arm} is shown to improve on the untouched encoder in {measure} "
            f"({level} intervals {_range(a)} and {_range(b)} points)."
        )
    elif not (a.above and b.above):
        better, other = (a, b) if a.above else (b, a)
        yield (
            f"Only {better.arm} is shown to improve on the untouched encoder in {measure} ({level} intervals: "
            f"{better.arm} {_range(better)} points, {other.arm} {_range(other)})."
        )
    yield from (
        f"{check.arm} ends {points(-check.difference)} points below the untouched encoder."
        for check in (a, b)
        if check.below
    )


def _range(entry: BaselineCheck) -> str:
    return f"{points(entry.low)} to {points(entry.high)}"


def _sample_words(sample: TargetSample, comparison: Comparison) -> str:
    a, b = comparison.a, comparison.b
    answers = {
        "a_better": f"{a} is better than {b} on average",
        "b_better": f"{b} is better than {a} on average",
        "no_difference": f"there is no difference larger than {points(comparison.delta)} points on average",
        "undecided": "it is undecided which is better",
    }
    return (
        f"On targets like these, {answers[sample.answer]}: {a} minus {b} {points(sample.low)} to "
        f"{points(sample.high)} points, at a new target {points(sample.new_low)} to {points(sample.new_high)}."
    )


def look_words(looks: Sequence[int], seeds: int, answer: Answer) -> str:
    """Whether the look that was reached, with so many seeds, decides. `looks`: all that were declared."""
    planned = looks[-1]
    if answer != "undecided":
        return f"Decided at the look with {seeds} of {planned} seeds: you may stop."
    if seeds == planned:
        return f"Not decided at the last look, with {planned} seeds."
    following = next(look for look in looks if look > seeds)
    return f"Not decided at the look with {seeds} of {planned} seeds: go on to the next, with {following}."


def chance_words(chances: Sequence[DecisionChance], primary: ComparisonResult) -> str:
    """`chances`: those of seeds and those of test images, each in ascending order."""
    seeds = [(f"{entry.seeds} seeds per arm", entry.chance) for entry in chances if entry.seeds is not None]
    images = [
        (f"about {_rounded(entry.test_images)} test images", entry.chance)
        for entry in chances
        if entry.test_images is not None
    ]
    found = [(seeds, primary.seeds), (images, primary.test_images)]
    return " ".join(_chances_of(ways, present) for ways, present in found if ways)


def _chances_of(ways: Sequence[tuple[str, float]], present: int) -> str:
    (first, chance), *others = ways
    sentence = f"With {first} instead of {present} the chance of a decision is {_percent(chance)}"
    return "; ".join([sentence, *(f"with {words} it is {_percent(chance)}" for words, chance in others)]) + "."


def _percent(chance: float) -> str:
    """To the nearest five: a forecast is no more exact than that."""
    if not 0.05 <= chance <= 0.95:
        return "below 5 %" if chance < 0.05 else "above 95 %"
    return f"about {5 * round(20 * chance)} %"


def _rounded(count: int) -> int:
    """Two significant digits."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit
