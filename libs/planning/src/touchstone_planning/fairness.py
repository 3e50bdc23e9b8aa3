"""What makes a comparison unfair or impossible is refused before anything is created."""

from collections.abc import Iterator
from itertools import islice

from touchstone_contracts.arms import Arm
from touchstone_contracts.problems import FieldError, Invalid, Unfair
from touchstone_contracts.suggestions import suggestion
from touchstone_contracts.values import MOST_ERRORS, Name

from touchstone_planning.ancestry import with_ancestors
from touchstone_planning.arms.planner import OBJECTIONS, Source, most_images, planner_of
from touchstone_planning.audit import partial_judges
from touchstone_planning.class_names import without_choice
from touchstone_planning.curation import impossible_rules
from touchstone_planning.exclusions import contradicted_exclusions
from touchstone_planning.image_embeddings import missing_image_embeddings
from touchstone_planning.patterns import impossible_patterns
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.target_checks import unmet_needs
from touchstone_planning.text_towers import missing_text_towers


def check_fair(resolved: ResolvedExperiment) -> None:
    """Raises Unfair (another upstream) or Invalid (a delta in points, an arm that cannot be made, a judge with a part
    in what it judges, text asked of an encoder that has none, a search of images that have no embeddings, a metric,
    recipe or test set that a target is not enough for, a class that is said to be left out and is not, a size no
    curation could leave)."""
    comparison = resolved.spec.comparison
    if comparison is not None and (fault := comparison.delta_fault):
        error = FieldError(pointer="/comparison/delta", detail=fault)
        raise Invalid("the smallest difference that matters is too large", code="delta_too_large", errors=(error,))
    patterns = impossible_patterns(_patterns(resolved))
    if impossible := [*_impossible_arms(resolved), *patterns, *impossible_rules(resolved)]:
        raise Invalid("an arm or rule refers to what is not there", code="impossible_arm", errors=tuple(impossible))
    if partial := list(partial_judges(resolved)):
        raise Invalid("the judge of labels is not independent", code="partial_judge", errors=tuple(partial))
    if textless := list(missing_text_towers(resolved)):
        raise Invalid("an encoder without a text tower is asked for text", code="no_text_tower", errors=tuple(textless))
    if unsearched := list(missing_image_embeddings(resolved)):
        raise Invalid(
            "images are to be compared before they are downloaded",
            code="no_image_embeddings",
            errors=tuple(unsearched),
        )
    if unmet := list(unmet_needs(resolved)):
        raise Invalid("a metric or the recipe needs more of a target", code="target_insufficient", errors=tuple(unmet))
    if absent := list(_absent_test_sets(resolved)):
        raise Invalid(
            "the comparison's test set is not one that every target has",
            code="unknown_test_set",
            errors=tuple(absent),
        )
    if contradicted := list(contradicted_exclusions(resolved)):
        raise Invalid(
            "what is said to be left out is part of the experiment",
            code="exclusion_contradicted",
            errors=tuple(contradicted),
        )
    if strangers := list(_foreign_generators(resolved)):
        raise Unfair(
            "a generator must have been trained on the experiment's upstream, or retrieval and generation would "
            "draw on different data",
            code="generator_of_another_upstream",
            errors=tuple(strangers),
        )
    if too_large := list(_unreachable_sizes(resolved)):
        raise Invalid("a size is larger than what can be had", code="size_unreachable", errors=tuple(too_large))


def _impossible_arms(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    arms = {arm.name: arm for arm in resolved.spec.arms}
    for position, arm in enumerate(resolved.spec.arms):
        planner, pointer = planner_of(arm), f"/arms/{position}"
        for source in planner.sources(arm):
            if detail := _objection(arm, source, arms):
                yield FieldError(pointer=pointer + source.pointer, detail=detail)
        needs = planner.needs(arm)
        if needs.train_split is not None:
            for target in resolved.targets:
                if target.splits.train is None:
                    detail = f"target {target.name!r} has no training split; register it with one, or leave the arm out"
                    yield FieldError(pointer=pointer + needs.train_split, detail=detail)
        yield from planner.impossible(arm, resolved)
    yield from without_choice(resolved.spec.zero_shot_names, resolved, "/zero_shot_names")


def _patterns(resolved: ResolvedExperiment) -> Iterator[tuple[str, str]]:
    for position, arm in enumerate(resolved.spec.arms):
        for pointer, pattern in planner_of(arm).patterns(arm):
            yield f"/arms/{position}{pointer}", pattern


def _objection(arm: Arm, source: Source, arms: dict[str, Arm]) -> str:
    """Why `source` cannot be what `arm` is made from; empty if it can."""
    if source.name not in arms:
        return f"no arm named {source.name!r}; {suggestion(source.name, sorted(arms))}"
    if arm.name in with_ancestors(source.name, lambda name: _known_sources(arms, name)):
        return f"arm {arm.name!r} would be made from itself"
    found = arms[source.name]
    missing = [OBJECTIONS[asked] for asked in source.asks if asked not in planner_of(found).offers]
    return f"arm {source.name!r} {missing[0].format(kind=found.kind)}" if missing else ""


def _known_sources(arms: dict[str, Arm], name: Name) -> Iterator[Name]:
    return (source.name for source in planner_of(arms[name]).sources(arms[name]) if source.name in arms)


def _foreign_generators(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    for position, arm in enumerate(resolved.spec.arms):
        name = planner_of(arm).needs(arm).generator
        if name is None:
            continue
        generator = resolved.generator(name)
        if generator.trained_on != resolved.upstream.name:
            yield FieldError(
                pointer=f"/arms/{position}/generator",
                detail=f"{generator.name!r} was trained on {generator.trained_on!r}, "
                f"the experiment's upstream is {resolved.upstream.name!r}",
            )


def _absent_test_sets(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    comparison = resolved.spec.comparison
    if comparison is None:
        return
    for target in resolved.targets:
        if comparison.test_set not in target.splits.tests:
            meant = suggestion(comparison.test_set, list(target.splits.tests))
            detail = f"target {target.name!r} has no test set {comparison.test_set!r}; {meant}"
            yield FieldError(pointer="/comparison/test_set", detail=detail)


def _unreachable_sizes(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    for position, size in enumerate(resolved.spec.sizes):
        for target in resolved.targets:
            for arm in resolved.spec.training_arms:
                limit = most_images(arm, target, resolved)
                if size > limit:
                    detail = (
                        f"arm {arm.name!r} can leave at most {limit} images of {target.name!r} after curation: lower "
                        "the size, give the arm more candidates, or loosen curation.filter and curation.per_class_cap"
                    )
                    yield FieldError(pointer=f"/sizes/{position}", detail=detail)
                    break


def exhausted_sizes(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    """Of an experiment that may be posted: sizes at which an arm will certainly be reported as exhausted, because its
    filter leaves less of all its candidates together. Other arms may reach them, so they are told, not refused.
    MOST_ERRORS at most."""
    yield from islice(_exhausted_sizes(resolved), MOST_ERRORS)


def _exhausted_sizes(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    for target in resolved.targets:
        for arm in resolved.spec.training_arms:
            limit = planner_of(arm).most_left(arm, target, resolved)
            for position, size in enumerate(resolved.spec.sizes):
                if size > limit:
                    detail = (
                        f"arm {arm.name!r} can leave at most {limit} images of {target.name!r} after curation, so it "
                        f"will be reported as exhausted at size {size}"
                    )
                    yield FieldError(pointer=f"/sizes/{position}", detail=detail)
