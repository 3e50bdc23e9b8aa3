"""Assembles the verdict: one primary endpoint declared beforehand, everything else secondary and adjusted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Unfair
from touchstone_contracts.values import Digest
from touchstone_contracts.views import (
    BaselineCheck,
    ComparisonResult,
    ExchangeRate,
    LearningRateCheck,
    ScalingFit,
    Verdict,
)

from touchstone_verdict.anytime import SeedSequence, seed_sequence, seeds_to_decide
from touchstone_verdict.baseline import check_baseline
from touchstone_verdict.costs import Spent, arm_costs
from touchstone_verdict.curves import Curves, compared, compared_by_class, paired_by_seed, shared_sizes
from touchstone_verdict.decide import Remedy, decide, what_would_decide
from touchstone_verdict.exchange_rate import exchange_rate
from touchstone_verdict.holm import holm
from touchstone_verdict.intervals import Components, Estimate
from touchstone_verdict.learning_rates import Choices, check_learning_rates
from touchstone_verdict.scaling import scaling_fits
from touchstone_verdict.wording import PARTIAL, headline, learning_rate_words, remedy_words, stop_words


@dataclass(frozen=True)
class Evidence:
    """All that the judge looks at."""

    experiment: str
    comparison: Comparison
    targets: tuple[str, ...]
    metrics: tuple[Metric, ...]
    sizes: tuple[int, ...]
    arms: tuple[str, ...]
    """Arms that train."""
    baseline: str | None
    """The arm of the untouched encoder."""
    curves: Curves
    """On the comparison's test set, as all below."""
    results_digest: Digest
    elsewhere: Mapping[str, Curves] = field(default_factory=dict)
    """By name: the other test sets' curves, of the targets that have them."""
    labels: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    """target -> true class ids of its test images; a target left out is not compared class by class."""
    choices: tuple[Choices, ...] = ()
    """Of the two arms compared, wherever both trained."""
    spent: Mapping[str, Spent] = field(default_factory=dict)
    """By arm."""
    seeds_planned: int | None = None
    """Where only some seeds are in yet; then nothing is shown whose interval supposes that all are."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A comparison before its answer: `parts` has one entry per target."""

    target: str | None
    size: int | None
    metric: Metric
    parts: tuple[Components, ...]
    estimate: Estimate | SeedSequence
    test_set: str
    class_id: int | None = None


def judge(evidence: Evidence) -> Verdict:
    """Raises Unfair (`nothing_to_compare`) when the two arms reached no common size at any target."""
    comparison = evidence.comparison
    measured = _measure_primary(evidence)
    primary = _result(measured, comparison)
    verdict = Verdict(
        experiment=evidence.experiment,
        a=comparison.a,
        b=comparison.b,
        delta=comparison.delta,
        confidence=comparison.confidence,
        stopping=comparison.stopping,
        may_stop=stop_words(primary, evidence.seeds_planned) if comparison.stopping == "anytime" else None,
        answer=primary.answer,
        headline=headline(comparison, primary, ()),
        primary=primary,
        secondary=(),
        baseline=(),
        would_decide=_would_decide(measured, primary, comparison),
        results_digest=evidence.results_digest,
    )
    if evidence.seeds_planned is not None:
        return verdict.model_copy(update={"warnings": (PARTIAL, *evidence.warnings)})
    return verdict.model_copy(update=_of_all_runs(evidence, measured, primary))


def _of_all_runs(evidence: Evidence, measured: Measured, primary: ComparisonResult) -> dict[str, Any]:
    """The fields of the verdict that suppose that every run is in."""
    comparison, baseline = evidence.comparison, _baseline(evidence)
    failed = [check for check in baseline if check.below and check.arm in (comparison.a, comparison.b)]
    rates = check_learning_rates(evidence.choices, comparison.delta)
    return {
        "headline": headline(comparison, primary, [check for check in failed if check.metric == comparison.metric]),
        "secondary": _adjusted(_secondary(evidence), comparison),
        "classes": _adjusted(_classes(evidence), comparison),
        "baseline": baseline,
        "learning_rates": rates,
        "exchange_rates": tuple(_exchange_rates(evidence)),
        "scaling": _scaling(evidence),
        "costs": arm_costs(evidence.spent, comparison.metric, baseline),
        "warnings": (*_warnings(evidence, measured, rates), *evidence.warnings),
    }


def _measure_primary(evidence: Evidence) -> Measured:
    comparison = evidence.comparison
    measured = _measure(evidence, None, None, comparison.metric)
    if measured is None:
        raise Unfair(
            f"{comparison.a} and {comparison.b} reached no common size at any target", code="nothing_to_compare"
        )
    if comparison.stopping == "fixed":
        return measured
    pairs = (
        paired_by_seed(evidence.curves, target, comparison.metric, comparison.a, comparison.b)
        for target in evidence.targets
    )
    return replace(measured, estimate=seed_sequence([pair for pair in pairs if pair is not None]))


def _measure(evidence: Evidence, target: str | None, size: int | None, metric: Metric) -> Measured | None:
    a, b = evidence.comparison.a, evidence.comparison.b
    targets = evidence.targets if target is None else (target,)
    found = (compared(evidence.curves, name, metric, a, b, size) for name in targets)
    parts = tuple(part for part in found if part is not None)
    if not parts:
        return None
    estimate = Estimate.pooled([part.estimate() for part in parts])
    return Measured(target, size, metric, parts, estimate, evidence.comparison.test_set)


def _result(measured: Measured, comparison: Comparison) -> ComparisonResult:
    estimate = measured.estimate
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
    )


def _adjusted(measured: Sequence[Measured], comparison: Comparison) -> tuple[ComparisonResult, ...]:
    """Answers follow the adjusted p-values (Holm, over all of `measured`); the intervals stay unadjusted."""
    alpha = 1 - comparison.confidence
    differs = holm([entry.estimate.p_value for entry in measured])
    equals = holm([entry.estimate.equivalence_p_value(comparison.delta) for entry in measured])
    return tuple(
        _result(entry, comparison).model_copy(
            update={"adjusted_p_value": p, "answer": decide(entry.estimate.difference, p, equal, alpha)}
        )
        for entry, p, equal in zip(measured, differs, equals, strict=True)
    )


def _secondary(evidence: Evidence) -> list[Measured]:
    found = [_measure(evidence, *view) for view in _secondary_views(evidence)]
    return [entry for entry in (*found, *_on_other_test_sets(evidence)) if entry is not None]


def _on_other_test_sets(evidence: Evidence) -> Iterator[Measured | None]:
    """Each metric overall."""
    for test_set, curves in evidence.elsewhere.items():
        comparison = evidence.comparison.model_copy(update={"test_set": test_set})
        there = replace(evidence, comparison=comparison, curves=curves)
        yield from (_measure(there, None, None, metric) for metric in evidence.metrics)


def _classes(evidence: Evidence) -> list[Measured]:
    comparison = evidence.comparison
    return [
        Measured(target, None, comparison.metric, (part,), part.estimate(), comparison.test_set, class_id)
        for target, labels in evidence.labels.items()
        for class_id, part in compared_by_class(
            evidence.curves, target, comparison.metric, comparison.a, comparison.b, labels
        ).items()
    ]


def _secondary_views(evidence: Evidence) -> Iterator[tuple[str | None, int | None, Metric]]:
    """Each metric overall, each target, each size at each target; a view equal to a wider one is left out."""
    for metric in evidence.metrics:
        if metric != evidence.comparison.metric:
            yield None, None, metric
        for target in evidence.targets:
            if len(evidence.targets) > 1:
                yield target, None, metric
            if len(evidence.sizes) > 1:
                yield from ((target, size, metric) for size in evidence.sizes)


def _baseline(evidence: Evidence) -> tuple[BaselineCheck, ...]:
    if evidence.baseline is None:
        return ()
    confidence = evidence.comparison.confidence
    return check_baseline(
        evidence.curves, evidence.targets, evidence.metrics, evidence.arms, evidence.baseline, confidence
    )


def _exchange_rates(evidence: Evidence) -> Iterator[ExchangeRate]:
    comparison = evidence.comparison
    for target in evidence.targets:
        a = evidence.curves.get((target, comparison.metric, comparison.a))
        b = evidence.curves.get((target, comparison.metric, comparison.b))
        if a is None or b is None:
            continue
        for size in a.sizes:
            rng = np.random.default_rng(derive_seed("exchange rate", evidence.results_digest, target, size))
            rate = exchange_rate(a, b, size, comparison.confidence, rng)
            yield ExchangeRate(
                target=target,
                images_a=size,
                images_b=rate.images,
                more_than=rate.more_than,
                at_most=rate.at_most,
                low=rate.low,
                high=rate.high,
            )


def _scaling(evidence: Evidence) -> tuple[ScalingFit, ...]:
    arms = (evidence.comparison.a, evidence.comparison.b)
    curves = {place: curve for place, curve in evidence.curves.items() if place[2] in arms}
    return scaling_fits(curves, evidence.comparison.test_set, evidence.comparison.confidence, evidence.results_digest)


def _would_decide(measured: Measured, primary: ComparisonResult, comparison: Comparison) -> str | None:
    if primary.answer != "undecided":
        return None
    if primary.seeds < 2:
        return "At least 2 seeds per arm: one seed says nothing about how much results vary between seeds."
    if isinstance(measured.estimate, SeedSequence):
        remedy = Remedy(seeds_to_decide(measured.estimate, comparison.delta, comparison.confidence), None)
    else:
        remedy = what_would_decide(measured.parts, comparison.delta, comparison.confidence)
    return remedy_words(remedy, primary)


def _warnings(evidence: Evidence, primary: Measured, rates: Sequence[LearningRateCheck]) -> Iterator[str]:
    comparison = evidence.comparison
    if comparison.stopping == "anytime":
        yield "Only the primary comparison may be looked at again and again; the others suppose these are all seeds."
    yield from learning_rate_words(rates, comparison)
    if min(part.seeds for part in primary.parts) < 2:
        yield "One seed per arm: no interval can be computed."
    elif min(part.seeds for part in primary.parts) < 3:
        yield "Two seeds per arm: the spread between seeds is estimated from very little, intervals are wide."
    for target in evidence.targets:
        sizes = shared_sizes(evidence.curves, target, comparison.metric, comparison.a, comparison.b)
        left_out = [size for size in evidence.sizes if size not in sizes]
        if not sizes:
            yield f"{target}: left out, the arms reached no common size."
        elif left_out:
            yield f"{target}: only sizes both arms reached are compared; left out: {_listed(left_out)}."


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(str(size) for size in sizes)
