"""The difference between two arms with its uncertainty, before and after it has an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import SPREAD, Comparison
from touchstone_contracts.problems import Unfair
from touchstone_contracts.views import ComparisonResult, Interval

from touchstone_verdict.answers import decide, holm
from touchstone_verdict.anytime import SeedSequence, seed_sequence
from touchstone_verdict.borrowed import BorrowedEstimate, SharedSpread, borrowed_estimate
from touchstone_verdict.curves import compared, paired_by_seed, seed_spreads, shared_sizes
from touchstone_verdict.evidence import Evidence, failures_of, of_first_seeds, without_runs
from touchstone_verdict.intervals import Components, Estimate
from touchstone_verdict.planned import Look, look_at


@dataclass(frozen=True)
class Measured:
    """A comparison before its answer: `parts` has one entry per target."""

    target: str | None
    size: int | None
    metric: Metric
    parts: tuple[Components, ...]
    once: Estimate | BorrowedEstimate
    """Of the spread that is declared, as of a single look."""
    test_set: str
    class_id: int | None = None
    own: Estimate | None = None
    borrowed: BorrowedEstimate | None = None
    repeated: Look | SeedSequence | None = None
    """Where there may be several looks."""

    @property
    def estimate(self) -> Estimate | BorrowedEstimate | Look | SeedSequence:
        """What decides."""
        return self.once if self.repeated is None else self.repeated

    @property
    def parts_seen(self) -> tuple[Components, ...]:
        """With the variance between seeds of the spread that is declared."""
        return self.once.parts if isinstance(self.once, BorrowedEstimate) and self.once.known else self.parts


def measure_primary(evidence: Evidence, *, leave_out: bool) -> Measured:
    """`leave_out`: without the runs that failed."""
    if evidence.comparison.stopping == "planned":
        return _measure_at_looks(evidence, leave_out)
    if leave_out:
        evidence = without_runs(evidence, failures_of(evidence))
    measured = _measure_once(evidence)
    return measured if evidence.comparison.stopping == "fixed" else _measure_at_any_time(evidence, measured)


def _measure_once(evidence: Evidence) -> Measured:
    comparison = evidence.comparison
    measured = measure(evidence, None, None, comparison.metric)
    if measured is None:
        raise Unfair(
            f"{comparison.a} and {comparison.b} reached no common size at any target", code="nothing_to_compare"
        )
    return measured


def _measure_at_any_time(evidence: Evidence, measured: Measured) -> Measured:
    comparison = evidence.comparison
    pairs = (
        paired_by_seed(evidence.curves, target, comparison.metric, comparison.a, comparison.b)
        for target in evidence.targets
    )
    clusters = [
        evidence.curves[target, comparison.metric, comparison.a].clusters
        for target in evidence.targets
        if shared_sizes(evidence.curves, target, comparison.metric, comparison.a, comparison.b)
    ]
    sequence = seed_sequence([pair for pair in pairs if pair is not None], clusters)
    return replace(measured, repeated=sequence, own=None, borrowed=None)


def _measure_at_looks(evidence: Evidence, leave_out: bool) -> Measured:
    """At the first declared look that decides, or the last one there are seeds for. A run has failed, or not, by the
    seeds of its look: what is decided stays decided."""
    comparison = evidence.comparison
    seeds = min(part.seeds for part in _measure_once(evidence).parts)
    reached = [of_first_seeds(evidence, look) for look in comparison.looks if look <= seeds]
    if leave_out:
        reached = [without_runs(early, failures_of(early)) for early in reached]
    found = [_measure_once(early) for early in reached]
    estimates, alpha = [measured.once for measured in found], 1 - comparison.confidence
    look = look_at(estimates, comparison.looks, comparison.spending, comparison.delta, alpha)
    return replace(found[look.number], repeated=look)


def measure(evidence: Evidence, target: str | None, size: int | None, metric: Metric) -> Measured | None:
    a, b = evidence.comparison.a, evidence.comparison.b
    targets = evidence.targets if target is None else (target,)
    found = {name: compared(evidence.curves, name, metric, a, b, size, paired=evidence.paired) for name in targets}
    parts = {name: part for name, part in found.items() if part is not None}
    if not parts:
        return None
    own = Estimate.pooled([part.estimate() for part in parts.values()])
    arms = _spread_names(evidence)
    borrowed = borrowed_estimate({name: (part, arms) for name, part in parts.items()}, _shared(evidence, size, metric))
    decides = own if (evidence.comparison.spread or SPREAD) == "own" else borrowed
    test_set = evidence.comparison.test_set
    return Measured(target, size, metric, tuple(parts.values()), decides, test_set, own=own, borrowed=borrowed)


def _spread_names(evidence: Evidence) -> tuple[str, ...]:
    """What the spreads of a comparison at one target are of."""
    a, b = evidence.comparison.a, evidence.comparison.b
    return (f"{a} minus {b}",) if evidence.paired else (a, b)


def _shared(evidence: Evidence, size: int | None, metric: Metric) -> SharedSpread:
    """Over every arm and target, or of paired arms over every target."""
    if (size, metric) not in evidence.shared_spreads:
        a, b = evidence.comparison.a, evidence.comparison.b
        spreads = seed_spreads(evidence.curves, evidence.targets, metric, (a, b), size, evidence.arms, evidence.paired)
        evidence.shared_spreads[size, metric] = SharedSpread(spreads)
    return evidence.shared_spreads[size, metric]


def result_of(measured: Measured, comparison: Comparison) -> ComparisonResult:
    estimate = measured.estimate
    look = estimate if isinstance(estimate, Look) else None
    low, high = estimate.interval(comparison.confidence)
    equivalence = estimate.equivalence_p_value(comparison.delta)
    return ComparisonResult(
        target=measured.target,
        size=measured.size,
        class_id=measured.class_id,
        metric=measured.metric,
        test_set=measured.test_set,
        difference=estimate.difference,
        low=low,
        high=high,
        degrees_of_freedom=estimate.degrees_of_freedom,
        p_value=estimate.p_value,
        answer=decide(estimate.difference, estimate.p_value, equivalence, 1 - comparison.confidence),
        seeds=min(part.seeds for part in measured.parts),
        test_images=sum(part.images for part in measured.parts),
        clusters=_clusters(measured.parts),
        own=_interval(measured.own, look, comparison),
        borrowed=_interval(measured.borrowed, look, comparison),
    )


def _clusters(parts: Sequence[Components]) -> int | None:
    if all(part.clusters is None for part in parts):
        return None
    return sum(part.image_draws for part in parts)


def _interval(
    estimate: Estimate | BorrowedEstimate | None, look: Look | None, comparison: Comparison
) -> Interval | None:
    """Of the same look as the one that decides."""
    if estimate is None:
        return None
    known = replace(look, estimate=estimate) if look else estimate
    low, high = known.interval(comparison.confidence)
    return Interval(low=low, high=high, degrees_of_freedom=known.degrees_of_freedom, p_value=known.p_value)


def adjusted(measured: Sequence[Measured], comparison: Comparison) -> tuple[ComparisonResult, ...]:
    """Answers follow the adjusted p-values (Holm, over all of `measured`); the intervals stay unadjusted."""
    alpha = 1 - comparison.confidence
    differs = holm([entry.estimate.p_value for entry in measured])
    equals = holm([entry.estimate.equivalence_p_value(comparison.delta) for entry in measured])
    return tuple(
        result_of(entry, comparison).model_copy(
            update={"adjusted_p_value": p, "answer": decide(entry.estimate.difference, p, equal, alpha)}
        )
        for entry, p, equal in zip(measured, differs, equals, strict=True)
    )
