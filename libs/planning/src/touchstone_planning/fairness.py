"""What makes a comparison unfair or impossible is refused before anything is created."""

from collections.abc import Iterator

from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import Target
from touchstone_contracts.curation import Curation
from touchstone_contracts.problems import FieldError, Invalid, Unfair

from touchstone_planning.arm_checks import impossible_arms
from touchstone_planning.lineage import broken_lineage
from touchstone_planning.resolve import ResolvedExperiment
from touchstone_planning.strategies import most_found_per_class
from touchstone_planning.target_checks import unmet_needs
from touchstone_planning.text_towers import missing_text_towers


def check_fair(resolved: ResolvedExperiment) -> None:
    """Raises Unfair (another upstream) or Invalid (an arm that cannot be made, text asked of an encoder that has
    none, a metric, recipe or test set that a target is not enough for, a size no curation could leave)."""
    if impossible := [*broken_lineage(resolved), *impossible_arms(resolved)]:
        raise Invalid("an arm or rule refers to what is not there", code="impossible_arm", errors=tuple(impossible))
    if textless := list(missing_text_towers(resolved)):
        raise Invalid("an encoder without a text tower is asked for text", code="no_text_tower", errors=tuple(textless))
    if unmet := list(unmet_needs(resolved)):
        raise Invalid("a metric or the recipe needs more of a target", code="target_insufficient", errors=tuple(unmet))
    if absent := list(_absent_test_sets(resolved)):
        raise Invalid(
            "the comparison's test set is not one that every target has",
            code="unknown_test_set",
            errors=tuple(absent),
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


def _foreign_generators(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    for position, arm in enumerate(resolved.spec.arms):
        if arm.kind not in ("generation", "perturbation"):
            continue
        generator = resolved.generator(arm.generator)
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
            there = ", ".join(target.splits.tests)
            detail = f"target {target.name!r} has no test set {comparison.test_set!r}, only {there}"
            yield FieldError(pointer="/comparison/test_set", detail=detail)


def _unreachable_sizes(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    for position, size in enumerate(resolved.spec.sizes):
        for target in resolved.targets:
            for arm in resolved.spec.training_arms:
                limit = most_images(resolved, target, arm)
                if size > limit:
                    detail = f"arm {arm.name!r} can leave at most {limit} images of {target.name!r} after curation"
                    yield FieldError(pointer=f"/sizes/{position}", detail=detail)
                    break


def most_images(resolved: ResolvedExperiment, target: Target, arm: Arm) -> int:
    """Upper bound of an arm's curated images; what curation really leaves is known only after it ran.

    Of a mixture: the largest size asked for at which every part may have enough."""
    arms = {other.name: other for other in resolved.spec.arms}
    if arm.kind == "mixture":
        available = [most_images(resolved, target, arms[part.arm]) for part in arm.parts]
        return arm.mixing.largest_size(available, max(resolved.spec.sizes))
    if arm.kind == "perturbation":
        return most_images(resolved, target, arms[arm.parent])
    most = len(target.classes) * _most_kept(_most_candidates_per_class(resolved, target, arm), resolved.spec.curation)
    if arm.kind == "target_train" and target.splits.train is not None:
        return min(most, target.splits.train.images)
    return most


def most_candidates(resolved: ResolvedExperiment, target: Target, arm: Arm) -> int:
    """Upper bound of the images that an arm's curation chooses from."""
    if arm.kind == "perturbation":
        return most_images(resolved, target, arm)
    return len(target.classes) * _most_candidates_per_class(resolved, target, arm)


def _most_candidates_per_class(resolved: ResolvedExperiment, target: Target, arm: Arm) -> int:
    if arm.kind == "generation":
        return arm.images_per_class(len(target.classes))
    if arm.kind == "retrieval":
        # An image may be found for several classes, so upstream bounds each class rather than the sum.
        return min(most_found_per_class(arm.strategy, target), resolved.upstream.images)
    if arm.kind == "target_train" and target.splits.train is not None:
        return target.splits.train.images
    return 0


def _most_kept(candidates: int, rules: Curation) -> int:
    kept = candidates
    for rule in rules.score_rules:
        kept = rule.most_kept(kept)
    return min(kept, rules.per_class_cap) if rules.per_class_cap is not None else kept
