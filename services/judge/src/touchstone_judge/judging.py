"""From measurements to the documents that the gateway shows: scaling laws and the verdict."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from touchstone_contracts.experiment import CONFIDENCE, Comparison
from touchstone_contracts.steps import JudgeExperiment
from touchstone_contracts.views import Results, Scaling, SeedOverlap, Verdict
from touchstone_verdict.evidence import Evidence
from touchstone_verdict.judge import judge_evidence
from touchstone_verdict.learning_rates import Choices
from touchstone_verdict.scaling import scaling_fits

from touchstone_judge.fairness import SplitEvidence, fairness_warnings
from touchstone_judge.labels import LabelsOfArms, label_warnings
from touchstone_judge.lineage import lineage_warnings
from touchstone_judge.measurements import Tests


def fit_scaling(request: JudgeExperiment, tests: Tests, results: Results) -> Scaling:
    confidence = request.comparison.confidence if request.comparison else CONFIDENCE
    fits = (
        fit
        for test_set, curves in tests.curves.items()
        for fit in scaling_fits(curves, test_set, confidence, results.digest)
    )
    return Scaling(experiment="", confidence=confidence, fits=tuple(fits), results_digest=results.digest)


def judge_tests(
    request: JudgeExperiment,
    comparison: Comparison,
    tests: Tests,
    results: Results,
    scaling: Scaling | None,
    choices: Iterable[Choices],
    cards: LabelsOfArms,
    splits: SplitEvidence,
    overlap: Iterable[SeedOverlap],
    upstream_images: Mapping[str, Sequence[int]],
) -> Verdict:
    """`scaling`: None where only some seeds are judged. `upstream_images`: of each class, by target. Raises Unfair
    (`nothing_to_compare`) when the two arms reached no common size at any target."""
    curves = tests.curves[comparison.test_set]
    # A judgement that does not say was planned before there was a choice.
    comparison = comparison.model_copy(update={"spread": comparison.spread or "own"})
    return judge_evidence(
        Evidence(
            comparison=comparison,
            targets=request.targets,
            metrics=request.metrics,
            sizes=tuple(sorted(request.sizes)),
            arms=request.arms,
            baseline=request.untouched,
            curves=curves,
            elsewhere={name: found for name, found in tests.curves.items() if name != comparison.test_set},
            results_digest=results.digest,
            labels={
                target: tests.labels[target, comparison.test_set]
                for target in request.targets
                if all((target, comparison.metric, arm) in curves for arm in (comparison.a, comparison.b))
            },
            upstream_images=upstream_images,
            choices=tuple(choices),
            fits=tuple(fit for fit in scaling.fits if fit.test_set == comparison.test_set) if scaling else None,
            seeds_planned=None if request.first_seeds is None else len(request.seeds),
            paired=request.paired,
            validation=tests.validation,
            seed_overlap=tuple(overlap),
            tells_movement=request.movement,
            warnings=(
                *_facts(request, comparison, results),
                *fairness_warnings(request, splits),
                *lineage_warnings(request),
                *label_warnings(comparison, cards),
            ),
        )
    )


def _facts(request: JudgeExperiment, comparison: Comparison, results: Results) -> Iterator[str]:
    """What a reader should know before believing the verdict."""
    arms = (comparison.a, comparison.b)
    for entry in results.exhausted:
        if entry.arm in arms:
            yield f"{entry.target}: {entry.arm} has {entry.available} images, too few for size {entry.size}."
    for counts in results.counts:
        empty = len(counts.counts.classes_without_images)
        if counts.arm in arms and empty:
            yield f"{counts.target}: {counts.arm} has no images for {empty} classes."
    yield from _updates(comparison, results)
    yield from _shared_sources(request)
    if not request.leaks_checked and "test" not in request.unchecked:  # else the copies are counted
        yield "The check for test images among the training images was turned off."
    if request.left_out:
        names = ", ".join(request.left_out)
        yield f"Judged before they were finished, and therefore left out of the baseline check: {names}."


def _shared_sources(request: JudgeExperiment) -> Iterator[str]:
    """Intervals suppose that every seed is an experiment of its own."""
    for seeds, words in (
        (request.draw_seeds, "draws of the training set"),
        (request.optimisation_seeds, "seeds of the optimisation"),
    ):
        own = seeds[: request.first_seeds]
        if len(set(own)) < len(own):
            yield (
                f"The {len(own)} seeds have only {len(set(own))} different {words} among them: the intervals count "
                "them as independent and are too narrow."
            )


def _updates(comparison: Comparison, results: Results) -> Iterator[str]:
    """Equal sizes in equal batches give equally many updates; where they do not, more training may be the reason."""
    found: dict[tuple[str, int], dict[str, int]] = {}
    for row in results.rows:
        if row.arm in (comparison.a, comparison.b) and row.updates is not None:
            found.setdefault((row.target, row.size), {})[row.arm] = row.updates
    for (target, size), updates in sorted(found.items()):
        if len(set(updates.values())) > 1:
            counts = ", ".join(f"{arm} {count}" for arm, count in sorted(updates.items()))
            yield f"{target}, size {size}: the arms were trained with different numbers of updates ({counts})."
