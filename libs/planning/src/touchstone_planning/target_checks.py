"""What the recipe and the metrics need of every target: each error points at the field that asks for it."""

from collections.abc import Iterator

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.arms.target_train import TargetTrain
from touchstone_contracts.catalogue import ClusterOfKey, Dataset, Target
from touchstone_contracts.problems import FieldError, Invalid, in_words

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.patterns import impossible_patterns
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.splits import check_dataset, check_splits, split_pointer


def unmet_needs(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    yield from _train_splits(resolved)
    yield from _target_images(resolved)
    for target in resolved.targets:
        for need in resolved.spec.recipe.unmet_needs(target):
            yield FieldError(pointer=f"/recipe{need.pointer}", detail=need.detail)


def check_clusters(target: Target) -> None:
    """Raises Invalid where images cannot be told apart by their keys as a test set says."""
    patterns = (
        (f"{split_pointer(name)}/cluster/remove", split.cluster.remove)
        for name, split in target.splits.tests.items()
        if isinstance(split.cluster, ClusterOfKey)
    )
    if errors := tuple(impossible_patterns(patterns)):
        detail = "a test set's clusters are named by a pattern that RE2 does not take"
        raise Invalid(detail, code="bad_pattern", errors=errors)


def check_entry(entry: Target | Dataset) -> None:
    """What a document of labelled images must not say, whoever wrote it. Raises Invalid."""
    if isinstance(entry, Target):
        check_clusters(entry)
        check_splits(entry)
    else:
        check_dataset(entry)


def _train_splits(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    without = [name for name, metric in METRICS.items() if metric.train_split == "used"]
    for position, metric in enumerate(resolved.spec.evaluation.metrics):
        for target in resolved.targets:
            if METRICS[metric].train_split == "needed" and target.splits.train is None:
                remedy = f"give it one or ask for {in_words(without, 'or')}"
                detail = f"target {target.name!r} has no training split: {remedy}"
                yield FieldError(pointer=f"/evaluation/metrics/{position}", detail=detail)


def _target_images(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    recipe, own = resolved.spec.recipe, TargetTrain()
    for target in resolved.targets:
        most = planner_of(own).most_images(own, target, resolved)
        if recipe.target_images > most:
            detail = (
                f"recipe {recipe.kind} asks for {recipe.target_images} images of the target's training split, "
                f"{target.name!r} can leave at most {most} after curation"
            )
            yield FieldError(pointer="/recipe", detail=detail)
