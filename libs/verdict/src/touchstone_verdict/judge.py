"""From predictions to the verdict: one primary endpoint declared beforehand, everything else secondary and adjusted."""

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
    DecisionChance,
    ExchangeRate,
    LearningRateCheck,
    ScalingFit,
    TargetSample,
    Verdict,
)

from touchstone_verdict.answers import decide, holm
from touchstone_verdict.anytime import SeedSequence, seed_sequence
from touchstone_verdict.claims import chance_words, headline, look_words
from touchstone_verdict.curves import (
    Curves,
    compared,
    compared_by_class,
    first_seeds,
    paired_by_seed,
    shared_sizes,
)
from touchstone_verdict.exchange_rate import exchange_rate
from touchstone_verdict.forecast import chances, chances_at_any_time, chances_at_last_look
from touchstone_verdict.intervals import Components, Estimate
from touchstone_verdict.learning_rates import Choices, check_learning_rates
from touchstone_verdict.planned import Look, look_at
from touchstone_verdict.predictions import Predictions, read_predictions
from touchstone_verdict.sampled_targets import sampled_targets
from touchstone_verdict.scaling import scaling_fits
from touchstone_verdict.untouched import check_over_all, checks_by_size
from touchstone_verdict.words import BETWEEN_LOOKS, PARTIAL, learning_rate_words, stop_words


def judge(predictions: Predictions, comparison: Comparison) -> Verdict:
    """Which of two arms classifies better, from a table that says which test images each got right.

    `predictions`: a mapping of columns of equal length (a dict of arrays or lists, a data frame), one row for each
    test image and run:

    | column   | holds                                                                                          |
    |----------|------------------------------------------------------------------------------------------------|
    | arm      | what is compared: the source of the training images, a model, a method                         |
    | target   | the classification task                                                                        |
    | test_set | which of the target's test sets the image is of; its main one is called "test"                 |
    | size     | number of training images; 0 for the untouched model, which is one arm at most                 |
    | seed     | the run: every arm has the same seeds at each of its sizes, two or more for there to be an interval |
    | image    | id of the test image: every run on a test set has the same ones, once each                     |
    | correct  | 1 or true where the run classified the image correctly, else 0 or false                        |
    | metric   | optional, where accuracies were measured in several ways; else all are `comparison.metric`     |

    Arms, targets and test sets are names: lower case letters, digits, dots, dashes and underscores.

    `comparison`: the arms `a` and `b` and, where the defaults do not fit, metric, test set, the smallest difference
    that matters (`delta`), the confidence and the stopping rule (`touchstone_contracts.experiment.Comparison`).

    The verdict (`touchstone_contracts.views.Verdict`) is the one that an experiment with these predictions gets; there
    are no comparisons by class, no learning rates and no costs, of which the table says nothing. The same rows in any
    order give the same verdict to the last digit. docs/verdict.md has the method.

    Raises Invalid where the table does not hold what it should and Unfair where the arms cannot be compared.

    >>> rng = numpy.random.default_rng(0)
    >>> runs = [("real", 0.9), ("made", 0.6)]
    >>> rows = [
    ...     (arm, "flags", "test", 100, seed, image, rng.random() < accuracy)
    ...     for arm, accuracy in runs for seed in range(3) for image in range(200)
    ... ]
    >>> columns = ("arm", "target", "test_set", "size", "seed", "image", "correct")
    >>> verdict = judge(dict(zip(columns, zip(*rows))), Comparison(a="real", b="made"))
    >>> verdict.answer, verdict.primary.seeds, verdict.primary.test_images
    ('a_better', 3, 200)
    """
    table = read_predictions(predictions, comparison)
    return judge_evidence(
        Evidence(
            comparison=comparison,
            targets=table.targets,
            metrics=table.metrics,
            sizes=table.sizes,
            arms=table.arms,
            baseline=table.untouched,
            curves=table.curves[comparison.test_set],
            elsewhere={name: curves for name, curves in table.curves.items() if name != comparison.test_set},
            results_digest=table.digest,
            seeds_planned=table.seeds_planned,
        )
    )


@dataclass(frozen=True)
class Evidence:
    """All that the judge looks at."""

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
    fits: tuple[ScalingFit, ...] | None = None
    """Of `curves`, where they were fitted before."""
    seeds_planned: int | None = None
    """Where only some seeds are in yet; then nothing is shown whose interval supposes that all are."""
    warnings: tuple[str, ...] = ()
    experiment: str = ""


@dataclass(frozen=True)
class Measured:
    """A comparison before its answer: `parts` has one entry per target."""

    target: str | None
    size: int | None
    metric: Metric
    parts: tuple[Components, ...]
    estimate: Estimate | SeedSequence | Look
    test_set: str
    class_id: int | None = None


def judge_evidence(evidence: Evidence) -> Verdict:
    """The verdict without costs.

    Raises Unfair (`nothing_to_compare`) when the two arms reached no common size at any target."""
    comparison = evidence.comparison
    measured = _measure_primary(evidence)
    primary = _result(measured, comparison)
    likely = _chances(evidence, measured, primary)
    verdict = Verdict(
        experiment=evidence.experiment,
        a=comparison.a,
        b=comparison.b,
        delta=comparison.delta,
        confidence=comparison.confidence,
        stopping=comparison.stopping,
        may_stop=_may_stop(evidence, primary),
        answer=primary.answer,
        headline=headline(comparison, primary, targets=len(measured.parts)),
        primary=primary,
        secondary=(),
        baseline=(),
        would_decide=_would_decide(measured, primary, likely),
        chances=likely,
        results_digest=evidence.results_digest,
    )
    if evidence.seeds_planned is not None:
        return verdict.model_copy(update={"warnings": (_partial(comparison), *evidence.warnings)})
    return verdict.model_copy(update=_of_all_runs(evidence, measured, primary))


def _of_all_runs(evidence: Evidence, measured: Measured, primary: ComparisonResult) -> dict[str, Any]:
    """The fields of the verdict that suppose that every run is in."""
    comparison, baseline = evidence.comparison, _baseline(evidence)
    compared_arms = [
        check for check in baseline if check.arm in (comparison.a, comparison.b) and check.metric == comparison.metric
    ]
    sample = _target_sample(evidence)
    rates = check_learning_rates(evidence.choices, comparison.delta)
    return {
        "headline": headline(comparison, primary, compared_arms, len(measured.parts), sample),
        "secondary": _adjusted(_secondary(evidence), comparison),
        "classes": _adjusted(_classes(evidence), comparison),
        "baseline": baseline,
        "baseline_by_size": tuple(_baseline_by_size(evidence)),
        "target_sample": sample,
        "learning_rates": rates,
        "exchange_rates": tuple(_exchange_rates(evidence)),
        "scaling": _scaling(evidence),
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
    if comparison.stopping == "planned":
        return _measure_at_looks(evidence, min(part.seeds for part in measured.parts))
    pairs = (
        paired_by_seed(evidence.curves, target, comparison.metric, comparison.a, comparison.b)
        for target in evidence.targets
    )
    return replace(measured, estimate=seed_sequence([pair for pair in pairs if pair is not None]))


def _measure_at_looks(evidence: Evidence, seeds: int) -> Measured:
    """At the first declared look that decides, or the last one there are `seeds` for."""
    comparison = evidence.comparison
    looks = (
        _measure(replace(evidence, curves=first_seeds(evidence.curves, look)), None, None, comparison.metric)
        for look in comparison.looks
        if look <= seeds
    )
    found = [measured for measured in looks if measured is not None]
    estimates = [measured.estimate for measured in found if isinstance(measured.estimate, Estimate)]
    alpha = 1 - comparison.confidence
    look = look_at(estimates, comparison.looks, comparison.spending, comparison.delta, alpha)
    return replace(found[look.number], estimate=look)


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
    """Every arm against the untouched encoder, metric by metric: one that falls below it failed, whoever won."""
    if evidence.baseline is None:
        return ()
    arms = [arm for arm in evidence.arms if arm != evidence.baseline]
    confidence = evidence.comparison.confidence
    found = (
        check_over_all(evidence.curves, evidence.targets, metric, arm, evidence.baseline, confidence)
        for arm in arms
        for metric in evidence.metrics
    )
    return tuple(check for check in found if check is not None)


def _baseline_by_size(evidence: Evidence) -> Iterator[BaselineCheck]:
    if evidence.baseline is None:
        return
    arms = [arm for arm in evidence.arms if arm != evidence.baseline]
    for metric in evidence.metrics:
        yield from checks_by_size(
            evidence.curves, evidence.targets, evidence.sizes, metric, arms, evidence.baseline, evidence.comparison
        )


def _target_sample(evidence: Evidence) -> TargetSample | None:
    """Of the primary endpoint over all seeds."""
    comparison = evidence.comparison
    measured = _measure(evidence, None, None, comparison.metric)
    sample = sampled_targets([part.estimate() for part in measured.parts]) if measured else None
    if sample is None:
        return None
    low, high = sample.interval(comparison.confidence)
    rng = np.random.default_rng(derive_seed("sampled targets", evidence.results_digest))
    new_low, new_high = sample.prediction(comparison.confidence, rng)
    p_value, equivalence = sample.p_value, sample.equivalence_p_value(comparison.delta)
    return TargetSample(
        targets=len(sample.differences),
        mean=sample.mean,
        low=low,
        high=high,
        new_low=new_low,
        new_high=new_high,
        between=sample.between,
        answer=decide(sample.mean, p_value, equivalence, 1 - comparison.confidence),
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
    """Of both arms."""
    comparison, arms = evidence.comparison, (evidence.comparison.a, evidence.comparison.b)
    if evidence.fits is not None:
        return tuple(fit for fit in evidence.fits if fit.arm in arms)
    curves = {place: curve for place, curve in evidence.curves.items() if place[2] in arms}
    return scaling_fits(curves, comparison.test_set, comparison.confidence, evidence.results_digest)


def _may_stop(evidence: Evidence, primary: ComparisonResult) -> str | None:
    comparison = evidence.comparison
    if comparison.stopping == "planned":
        return look_words(comparison, primary)
    return stop_words(primary, evidence.seeds_planned) if comparison.stopping == "anytime" else None


def _partial(comparison: Comparison) -> str:
    return BETWEEN_LOOKS if comparison.stopping == "planned" else PARTIAL


def _would_decide(measured: Measured, primary: ComparisonResult, likely: Sequence[DecisionChance]) -> str | None:
    if primary.answer != "undecided":
        return None
    if primary.seeds < 2:
        return "At least 2 seeds per arm: one seed says nothing about how much results vary between seeds."
    if isinstance(measured.estimate, Look) and not likely:
        return "Every declared look is over, so more seeds of this experiment decide nothing: plan a new one."
    return chance_words(likely, primary)


def _chances(evidence: Evidence, measured: Measured, primary: ComparisonResult) -> tuple[DecisionChance, ...]:
    """Where the answer is "undecided"."""
    if primary.answer != "undecided" or primary.seeds < 2:
        return ()
    delta, confidence = evidence.comparison.delta, evidence.comparison.confidence
    seed = derive_seed("chances", evidence.results_digest)
    match measured.estimate:
        case SeedSequence() as sequence:
            found = chances_at_any_time(sequence, delta, confidence, seed)
        case Look() as look:
            found = chances_at_last_look(measured.parts, look, delta, confidence, seed)
        case _:
            found = chances(measured.parts, delta, confidence, seed)
    return tuple(
        DecisionChance(
            seeds=entry.count if entry.more == "seeds" else None,
            test_images=entry.count if entry.more == "images" else None,
            chance=entry.chance,
        )
        for entry in found
    )


def _warnings(evidence: Evidence, primary: Measured, rates: Sequence[LearningRateCheck]) -> Iterator[str]:
    comparison = evidence.comparison
    if comparison.stopping == "anytime":
        yield "Only the primary comparison may be looked at again and again; the others suppose these are all seeds."
    if comparison.stopping == "planned":
        yield "Only the primary comparison allows for the declared looks; the others suppose these are all seeds."
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
