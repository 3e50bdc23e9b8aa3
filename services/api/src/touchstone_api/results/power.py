"""What an experiment that has not run can be expected to show, from what earlier ones found."""

from collections.abc import Iterator
from itertools import islice

from touchstone_contracts.experiment import Comparison, ExperimentSpec
from touchstone_contracts.power import DeclaredSpread, ExpectedSpread, Power, Spread, TargetSpread
from touchstone_contracts.problems import Invalid
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.objects import MissingObject
from touchstone_store.listing import Wanted, list_experiments

from touchstone_api.results.reader import ResultsReader

LOOKED_AT = 200
"""Experiments, the newest first."""
MOST_USED = 20
"""Earlier experiments whose verdicts are read."""

Earlier = dict[str, TargetSpread]
"""By experiment, of one target."""


def expected_power(
    reader: ResultsReader, project: str, resolved: ResolvedExperiment, declared: DeclaredSpread
) -> Power | None:
    """From what earlier experiments found that the project may read. None where the spec compares nothing."""
    # It needs SciPy, which costs 16 MB and which nothing else here needs.
    from touchstone_verdict.power import assumed_spread, pooled_spread, power_of

    spec, comparison = resolved.spec, resolved.spec.primary
    if comparison is None:
        return None
    same, other = _earlier_spreads(reader, project, spec, comparison)
    given = declared.model_dump(exclude_none=True)
    expected = []
    for target in resolved.targets:
        earlier = same.get(target.name) or other.get(target.name) or {}
        spread = pooled_spread(list(earlier.values())) if earlier else assumed_spread(comparison.metric)
        whole = len(given) == len(Spread.model_fields)
        expected.append(
            ExpectedSpread(
                **spread.model_dump() | given,
                target=target.name,
                test_images=target.splits.tests[comparison.test_set].images,
                source="declared" if whole else "earlier" if earlier else "assumed",
                same_kinds=target.name in same and not whole,
                experiments=() if whole else tuple(earlier),
            )
        )
    return power_of(comparison, len(spec.seeds), expected, len(spec.training_arms))


def _earlier_spreads(
    reader: ResultsReader, project: str, spec: ExperimentSpec, comparison: Comparison
) -> tuple[dict[str, Earlier], dict[str, Earlier]]:
    """By target: of comparisons of the same kinds of arms, and of other kinds."""
    same: dict[str, Earlier] = {}
    other: dict[str, Earlier] = {}
    for experiment, earlier in islice(_alike(reader, project, spec, comparison), MOST_USED):
        found = same if _kinds(earlier) == _kinds(spec) else other
        for entry in _spreads(reader, experiment):
            found.setdefault(entry.target, {})[experiment] = entry
    return same, other


def _alike(
    reader: ResultsReader, project: str, spec: ExperimentSpec, comparison: Comparison
) -> Iterator[tuple[str, ExperimentSpec]]:
    """Finished experiments that share a target and compare in the same metric on the same test set, newest first."""
    with reader.store.read() as session:
        newest = list_experiments(session, project, after=None, limit=LOOKED_AT, wanted=Wanted(archived=None))
    for experiment in newest:
        earlier = experiment.spec
        if experiment.phase != "succeeded" or earlier is None or (primary := earlier.primary) is None:
            continue
        measured = (primary.metric, primary.test_set) == (comparison.metric, comparison.test_set)
        if measured and set(earlier.targets) & set(spec.targets):
            yield experiment.id, earlier


def _kinds(spec: ExperimentSpec) -> tuple[str, ...]:
    """Of the two arms compared, in no order."""
    primary = spec.primary
    return tuple(sorted(arm.kind for arm in spec.arms if primary and arm.name in (primary.a, primary.b)))


def _spreads(reader: ResultsReader, experiment: str) -> tuple[TargetSpread, ...]:
    """Empty where there is no verdict, or one of before spreads were kept, or it was lost."""
    try:
        verdict = reader.stored_verdict(experiment)
    except (Invalid, MissingObject):
        return ()
    return verdict.spread if verdict else ()
