"""From predictions to the verdict: one primary endpoint declared beforehand, everything else secondary and adjusted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.class_groups import ClassGroup
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

from touchstone_verdict.answers import Remedy, decide, holm, what_would_decide
from touchstone_verdict.anytime import SeedSequence, seed_sequence, seeds_to_decide
from touchstone_verdict.class_groups import class_groups, compared_arms
from touchstone_verdict.curves import (
    Curves,
    against_baseline,
    compared,
    compared_by_class,
    paired_by_seed,
    shared_sizes,
)
from touchstone_verdict.exchange_rate import exchange_rate
from touchstone_verdict.intervals import Components, Estimate
from touchstone_verdict.learning_rates import Choices, check_learning_rates
from touchstone_verdict.predictions import Predictions, read_predictions
from touchstone_verdict.scaling import scaling_fits
from touchstone_verdict.words import PARTIAL, headline, learning_rate_words, remedy_words, stop_words


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
    upstream_images: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """target -> images of each class that an arm found upstream, where one is known to have looked for them."""
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
    estimate: Estimate | SeedSequence
    test_set: str
    class_id: int | None = None


def judge_evidence(evidence: Evidence) -> Verdict:
    """The verdict without costs.

    Raises Unfair (`nothing_to_compare`) when the two arms reached no common size at any target."""
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
        "class_groups": tuple(_class_groups(evidence)),
        "baseline": baseline,
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


def _class_groups(evidence: Evidence) -> Iterator[ClassGroup]:
    comparison = evidence.comparison
    for target, labels in evidence.labels.items():
        compared = compared_arms(
            evidence.curves,
            target,
            comparison.metric,
            (comparison.a, comparison.b),
            evidence.baseline,
            labels,
            comparison.confidence,
        )
        if compared is not None:
            yield from class_groups(compared, evidence.upstream_images.get(target))


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
    found = [_against(evidence, evidence.baseline, arm, metric) for arm in arms for metric in evidence.metrics]
    return tuple(check for check in found if check is not None)


def _against(evidence: Evidence, baseline: str, arm: str, metric: Metric) -> BaselineCheck | None:
    """Over the targets and sizes that the arm reached; None where it reached nothing."""
    parts = [against_baseline(evidence.curves, target, metric, arm, baseline) for target in evidence.targets]
    estimates = [part.estimate() for part in parts if part is not None]
    if not estimates:
        return None
    pooled = Estimate.pooled(estimates)
    low, high = pooled.interval(evidence.comparison.confidence)
    return BaselineCheck(arm=arm, metric=metric, difference=pooled.difference, low=low, high=high, below=high < 0)


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
