"""From predictions to the verdict: one primary endpoint declared beforehand, everything else secondary and adjusted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.class_groups import ClassGroup
from touchstone_contracts.experiment import SPREAD, Comparison
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.power import TargetSpread
from touchstone_contracts.views import (
    BaselineCheck,
    ComparisonResult,
    DecisionChance,
    ExchangeRate,
    FailedRunCheck,
    LearningRateCheck,
    ScalingFit,
    TargetSample,
    Verdict,
)

from touchstone_verdict.answers import decide
from touchstone_verdict.anytime import SeedSequence
from touchstone_verdict.caveats import failed_run_words, overlap_words, paired_words, spread_words
from touchstone_verdict.claims import chance_words, headline, look_words
from touchstone_verdict.class_groups import class_groups, compared_arms
from touchstone_verdict.curves import (
    compared_by_class,
    shared_sizes,
)
from touchstone_verdict.evidence import Evidence, failures_of, untouched_validation, without_runs
from touchstone_verdict.exchange_rate import exchange_rate
from touchstone_verdict.failed_runs import Failure
from touchstone_verdict.forecast import chances, chances_at_any_time, chances_at_last_look
from touchstone_verdict.learning_rates import check_learning_rates
from touchstone_verdict.measured import Measured, adjusted, measure, measure_primary, result_of
from touchstone_verdict.movement import movement_words
from touchstone_verdict.planned import Look
from touchstone_verdict.power import spread_of
from touchstone_verdict.predictions import Predictions, read_predictions
from touchstone_verdict.sampled_targets import sampled_targets
from touchstone_verdict.scaling import scaling_fits
from touchstone_verdict.untouched import check_over_all, checks_by_size
from touchstone_verdict.words import BETWEEN_LOOKS, PARTIAL, learning_rate_words, stop_words


def judge(predictions: Predictions, comparison: Comparison, *, paired: bool = False) -> Verdict:
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
    | cluster  | optional, what images share that were drawn together: concept, scene, patient, source picture  |
    | validation | optional, the run's accuracy on validation, by which runs that failed are found              |

    Arms, targets and test sets are names: lower case letters, digits, dots, dashes and underscores.

    `comparison`: the arms `a` and `b` and, where the defaults do not fit, metric, test set, the smallest difference
    that matters (`delta`), the confidence and the stopping rule (`touchstone_contracts.experiment.Comparison`).

    `paired`: both arms draw the same images, or images made from the same ones, seed by seed.

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
    table = read_predictions(predictions, comparison, paired=paired)
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
            paired=paired,
            validation=table.validation,
            seeds_planned=table.seeds_planned,
        )
    )


def judge_evidence(evidence: Evidence) -> Verdict:
    """The verdict without costs.

    Raises Unfair (`nothing_to_compare`) when the two arms reached no common size at any target."""
    comparison = evidence.comparison
    everything, failures = evidence, failures_of(evidence)
    leave_out = comparison.failed_runs == "leave_out"
    measured = measure_primary(evidence, leave_out=leave_out)
    if leave_out:
        evidence = without_runs(evidence, failures)
    primary = result_of(measured, comparison)
    likely = _chances(evidence, measured, primary)
    verdict = Verdict(
        experiment=evidence.experiment,
        a=comparison.a,
        b=comparison.b,
        delta=comparison.delta,
        confidence=comparison.confidence,
        stopping=comparison.stopping,
        may_stop=_may_stop(evidence, measured, primary),
        answer=primary.answer,
        headline=headline(comparison, primary, targets=len(measured.parts)),
        primary=primary,
        decided_by=comparison.spread or SPREAD,
        paired_seeds=evidence.paired,
        failed_runs=_failed_runs(everything, failures),
        seed_overlap=evidence.seed_overlap,
        secondary=(),
        baseline=(),
        would_decide=_would_decide(measured, primary, likely),
        chances=likely,
        spread=tuple(_spread(evidence, measured)),
        results_digest=evidence.results_digest,
    )
    if evidence.seeds_planned is not None:
        return verdict.model_copy(update={"warnings": (_partial(comparison), *evidence.warnings, *_caveats(verdict))})
    of_all = _of_all_runs(evidence, measured, primary)
    return verdict.model_copy(update=of_all | {"warnings": (*of_all["warnings"], *_caveats(verdict))})


def _caveats(verdict: Verdict) -> Iterator[str]:
    if words := spread_words(verdict.primary, verdict.confidence):
        yield words
    if verdict.failed_runs is not None:
        yield failed_run_words(verdict.failed_runs, verdict.a, verdict.b)
    if verdict.paired_seeds:
        yield paired_words(verdict.a, verdict.b)
    yield from overlap_words(verdict.seed_overlap)


def _failed_runs(evidence: Evidence, failures: Sequence[Failure]) -> FailedRunCheck | None:
    """`evidence`: with every run. None where no run failed, or where the comparison cannot be had the other way."""
    if not failures:
        return None
    left_out = evidence.comparison.failed_runs == "leave_out"
    otherwise = measure_primary(evidence, leave_out=not left_out)
    untouched = untouched_validation(evidence)
    return FailedRunCheck(
        runs=tuple(failure.described(untouched) for failure in failures),
        left_out=left_out,
        otherwise=result_of(otherwise, evidence.comparison),
    )


def _of_all_runs(evidence: Evidence, measured: Measured, primary: ComparisonResult) -> dict[str, Any]:
    """The fields of the verdict that suppose that every run is in."""
    comparison, baseline = evidence.comparison, _baseline(evidence)
    checks = [
        check for check in baseline if check.arm in (comparison.a, comparison.b) and check.metric == comparison.metric
    ]
    sample = _target_sample(evidence)
    rates = check_learning_rates(evidence.choices, comparison.delta)
    return {
        "headline": headline(comparison, primary, checks, len(measured.parts), sample),
        "secondary": adjusted(_secondary(evidence), comparison),
        "classes": adjusted(_classes(evidence), comparison),
        "class_groups": tuple(_class_groups(evidence)),
        "baseline": baseline,
        "baseline_by_size": tuple(_baseline_by_size(evidence)),
        "target_sample": sample,
        "learning_rates": rates,
        "exchange_rates": tuple(_exchange_rates(evidence)),
        "scaling": _scaling(evidence),
        "warnings": (*_warnings(evidence, measured, rates), *_movement(evidence), *evidence.warnings),
    }


def _secondary(evidence: Evidence) -> list[Measured]:
    found = [measure(evidence, *view) for view in _secondary_views(evidence)]
    return [entry for entry in (*found, *_on_other_test_sets(evidence)) if entry is not None]


def _on_other_test_sets(evidence: Evidence) -> Iterator[Measured | None]:
    """Each metric overall."""
    for test_set, curves in evidence.elsewhere.items():
        comparison = evidence.comparison.model_copy(update={"test_set": test_set})
        there = replace(evidence, comparison=comparison, curves=curves)
        yield from (measure(there, None, None, metric) for metric in evidence.metrics)


def _classes(evidence: Evidence) -> list[Measured]:
    comparison = evidence.comparison
    return [
        Measured(target, None, comparison.metric, (part,), part.estimate(), comparison.test_set, class_id)
        for target, labels in evidence.labels.items()
        for class_id, part in compared_by_class(
            evidence.curves, target, comparison.metric, comparison.a, comparison.b, labels
        ).items()
    ]


def _class_groups(evidence: Evidence) -> Iterator[ClassGroup]:
    comparison = evidence.comparison
    for target, labels in evidence.labels.items():
        found = compared_arms(
            evidence.curves,
            target,
            comparison.metric,
            (comparison.a, comparison.b),
            evidence.baseline,
            labels,
            comparison.confidence,
        )
        if found is not None:
            yield from class_groups(found, evidence.upstream_images.get(target))


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
    measured = measure(evidence, None, None, comparison.metric)
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
    curves = {key: curve for key, curve in evidence.curves.items() if key[2] in arms}
    return scaling_fits(curves, comparison.test_set, comparison.confidence, evidence.results_digest)


def _may_stop(evidence: Evidence, measured: Measured, primary: ComparisonResult) -> str | None:
    match measured.repeated:
        case Look() as look:
            return look_words(look.looks, look.seeds, primary.answer)
        case SeedSequence():
            return stop_words(primary, evidence.seeds_planned)
    return None


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
            found = chances_at_last_look(measured.parts_seen, look, delta, confidence, seed)
        case _:
            found = chances(measured.parts_seen, delta, confidence, seed)
    return tuple(
        DecisionChance(
            seeds=entry.count if entry.more == "seeds" else None,
            test_images=entry.count if entry.more == "images" else None,
            chance=entry.chance,
        )
        for entry in found
    )


def _spread(evidence: Evidence, primary: Measured) -> Iterator[TargetSpread]:
    comparison = evidence.comparison
    metric, a, b = comparison.metric, comparison.a, comparison.b
    reached = [target for target in evidence.targets if shared_sizes(evidence.curves, target, metric, a, b)]
    for target, part in zip(reached, primary.parts, strict=True):
        if min(part.seeds, part.images) > 1:
            spread = spread_of(part).model_dump()
            yield TargetSpread(target=target, seeds=part.seeds, test_images=part.images, **spread)


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


def _movement(evidence: Evidence) -> Iterator[str]:
    comparison = evidence.comparison
    if evidence.tells_movement and evidence.baseline is not None:
        arms = (comparison.a, comparison.b)
        yield from movement_words(evidence.curves, evidence.targets, comparison.metric, arms, evidence.baseline)


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(str(size) for size in sizes)
