"""What an arm or a rule says of splits, sizes and classes must be there: each error points at its field."""

from collections.abc import Iterable, Iterator

from touchstone_contracts.arms.mixture import Mixture
from touchstone_contracts.arms.retrieval import Strategy, TextMatch, Union
from touchstone_contracts.catalogue import classes_called
from touchstone_contracts.curation import AllOf, Curation, KeepAboveClassScore
from touchstone_contracts.problems import FieldError

from touchstone_planning.resolve import ResolvedExperiment


def impossible_arms(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    for position, arm in enumerate(resolved.spec.arms):
        pointer = f"/arms/{position}"
        if arm.kind == "mixture":
            yield from _counts(resolved, arm)
        elif arm.kind == "target_train":
            yield from _train_splits(resolved, pointer)
        elif arm.kind == "retrieval":
            yield from _queries(resolved, arm.strategy, f"{pointer}/strategy")
    yield from _thresholds(resolved, resolved.spec.curation)


def _counts(resolved: ResolvedExperiment, mixture: Mixture) -> Iterator[FieldError]:
    smallest = mixture.mixing.smallest_size
    for position, size in enumerate(resolved.spec.sizes):
        if size < smallest:
            detail = f"the counts of mixture {mixture.name!r} need a size of at least {smallest}"
            yield FieldError(pointer=f"/sizes/{position}", detail=detail)


def _train_splits(resolved: ResolvedExperiment, pointer: str) -> Iterator[FieldError]:
    for target in resolved.targets:
        if target.splits.train is None:
            detail = f"target {target.name!r} has no training split; register it with one, or leave the arm out"
            yield FieldError(pointer=pointer, detail=detail)


def _queries(resolved: ResolvedExperiment, strategy: Strategy, pointer: str) -> Iterator[FieldError]:
    if isinstance(strategy, Union):
        yield from _queries(resolved, strategy.text_match, f"{pointer}/text_match")
    if not isinstance(strategy, TextMatch):
        return
    yield from _unknown_classes(resolved, strategy.queries, f"{pointer}/queries")
    if strategy.mode == "regex":
        for key, patterns in strategy.queries.items():
            for position, pattern in enumerate(patterns):
                if problem := _pattern_problem(pattern):
                    yield FieldError(pointer=f"{pointer}/queries/{_escaped(key)}/{position}", detail=problem)


def _thresholds(resolved: ResolvedExperiment, curation: Curation) -> Iterator[FieldError]:
    for position, rule in enumerate(curation.score_rules):
        if isinstance(rule, KeepAboveClassScore):
            place = f"/rules/{position}" if isinstance(curation.filter, AllOf) else ""
            yield from _unknown_classes(resolved, rule.minimums, f"/curation/filter{place}/minimums")


def _unknown_classes(resolved: ResolvedExperiment, keys: Iterable[str], pointer: str) -> Iterator[FieldError]:
    for key in keys:
        if not any(classes_called(key, target.classes) for target in resolved.targets):
            detail = f"no target has a class with the name or id {key!r}"
            yield FieldError(pointer=f"{pointer}/{_escaped(key)}", detail=detail)


def _pattern_problem(pattern: str) -> str:
    """What the engine that will search the captions says; empty if it accepts the pattern."""
    # Imported here: it is large, and few requests hold a pattern.
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.scalar(""), pattern, ignore_case=True)
    except pa.ArrowInvalid as error:
        return str(error)
    return ""


def _escaped(key: str) -> str:
    """As a token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
