"""From names to facts: every name of a spec is looked up, and the result says everything that decides the answer."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, Protocol, TypeVar

from touchstone_contracts.catalogue import Dataset, Encoder, Entry, Generator, Target, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import FieldError, Invalid
from touchstone_contracts.suggestions import MOST_SUGGESTED, suggestion
from touchstone_contracts.values import MOST_CLASSES

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment

EntryT = TypeVar("EntryT", bound=Entry)


MOST_CLASSES_TOGETHER = 2 * MOST_CLASSES
"""Of all targets of an experiment."""


class Lookup(Protocol):
    """The registered catalogue, by name; None where nothing is registered."""

    def upstream(self, name: str) -> Upstream | None: ...

    def encoder(self, name: str) -> Encoder | None: ...

    def generator(self, name: str) -> Generator | None: ...

    def target(self, name: str) -> Target | None: ...

    def dataset(self, name: str) -> Dataset | None: ...


NamesOfKind = Callable[[str], Sequence[str]]
"""What is registered of a kind (`upstream`, `target`, ...), as far as whoever asks may see it."""


class Found(NamedTuple):
    """What a name stands for."""

    pointer: str
    """Where the spec names it."""
    entry: Entry


class _Resolver:
    """Collects every unknown name before complaining, so that the caller fixes all at once."""

    def __init__(self, names: NamesOfKind | None) -> None:
        self.errors: list[FieldError] = []
        self.found: list[Found] = []
        self._names = None if names is None else cache(names)

    def find(self, find: Callable[[str], EntryT | None], kind: str, name: str, pointer: str) -> EntryT | None:
        entry = find(name)
        if entry is None:
            self.errors.append(FieldError(pointer=pointer, detail=self._unknown(kind, name)))
        else:
            self.found.append(Found(pointer, entry))
        return entry

    def _unknown(self, kind: str, name: str) -> str:
        said = f"no {kind} named {name!r} is registered"
        if self._names is None or len(self.errors) >= MOST_SUGGESTED:
            return said
        return f"{said}; {suggestion(name, self._names(kind))}"

    def find_targets(self, spec: ExperimentSpec, lookup: Lookup) -> list[Target | None]:
        """Raises Invalid at the first that has too many classes beside those before it: reading them takes time."""
        targets, classes = list[Target | None](), 0
        for position, name in enumerate(spec.targets):
            found = self.find(lookup.target, "target", name, f"/targets/{position}")
            targets.append(found)
            classes += len(found.classes) if found else 0
            if classes > MOST_CLASSES_TOGETHER:
                detail = f"up to this target the experiment has {classes:,} classes, {MOST_CLASSES_TOGETHER:,} may be"
                error = FieldError(pointer=f"/targets/{position}", detail=detail)
                raise Invalid("the targets have too many classes", code="too_many_classes", errors=(error,))
        return targets

    def find_if(self, find: Callable[[str], EntryT | None], kind: str, name: str | None, pointer: str) -> EntryT | None:
        return None if name is None else self.find(find, kind, name, pointer)


def resolve(spec: ExperimentSpec, lookup: Lookup) -> ResolvedExperiment:
    """Raises Invalid with a JSON pointer per unknown name."""
    return resolve_names(spec, lookup)[0]


def resolve_names(
    spec: ExperimentSpec, lookup: Lookup, names: NamesOfKind | None = None
) -> tuple[ResolvedExperiment, tuple[Found, ...]]:
    """Also what each of its names stands for. Raises as `resolve`."""
    resolver = _Resolver(names)
    upstream = resolver.find(lookup.upstream, "upstream", spec.upstream, "/upstream")
    encoder = resolver.find(lookup.encoder, "encoder", spec.encoder, "/encoder")
    index_encoder = upstream and resolver.find(lookup.encoder, "encoder", upstream.index_encoder, "/upstream")
    targets = resolver.find_targets(spec, lookup)
    generators = {
        name: resolver.find(lookup.generator, "generator", name, f"/arms/{position}/generator")
        for position, arm in enumerate(spec.arms)
        if (name := planner_of(arm).needs(arm).generator) is not None
    }
    datasets = {
        name: resolver.find(lookup.dataset, "dataset", name, f"/arms/{position}/datasets/{number}")
        for position, arm in enumerate(spec.arms)
        for number, name in enumerate(planner_of(arm).needs(arm).datasets)
    }
    rules = spec.curation
    score_encoder = resolver.find_if(lookup.encoder, "encoder", rules.score_encoder, "/curation/score_encoder")
    copy_encoder = resolver.find_if(lookup.encoder, "encoder", rules.copy_encoder, "/curation/copy_encoder")
    judge_encoder = resolver.find_if(lookup.encoder, "encoder", spec.judge_encoder, "/judge_encoder")
    if resolver.errors or upstream is None or encoder is None or index_encoder is None:
        raise Invalid(
            "the spec names things that are not registered", code="unknown_name", errors=tuple(resolver.errors)
        )
    resolved = ResolvedExperiment(
        spec=spec,
        upstream=upstream,
        index_encoder=index_encoder,
        encoder=encoder,
        targets=tuple(target for target in targets if target is not None),
        generators=tuple(generators[name] for name in sorted(generators) if generators[name] is not None),
        score_encoder=score_encoder,
        copy_encoder=copy_encoder,
        datasets=tuple(datasets[name] for name in sorted(datasets) if datasets[name] is not None),
        judge_encoder=judge_encoder,
    )
    return resolved, tuple(resolver.found)
