"""What came in of registered sources, and what is to be known of generated images: summed over the finished steps."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from touchstone_contracts.account import Account, NamedByReason, joined
from touchstone_contracts.catalogue import Dataset, Source, SourceFiles, Target, Upstream
from touchstone_contracts.steps import (
    COLLECT_CAPTIONS,
    GENERATE_IMAGES,
    PERTURB_IMAGES,
    WRITE_CAPTIONS,
    WRITE_PROMPTS,
    ImagesEmbedded,
)
from touchstone_contracts.values import StepId
from touchstone_contracts.views import GenerationNotes, ManifestStep, SourceAccount
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.dag import ingest_steps
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.finished import FinishedSteps, read_finished
from touchstone_store.database import Store
from touchstone_store.steps import embeddings_of, succeeded_among

WITH_NOTES = tuple(
    contract.name for contract in (WRITE_PROMPTS, WRITE_CAPTIONS, COLLECT_CAPTIONS, GENERATE_IMAGES, PERTURB_IMAGES)
)


@dataclass(frozen=True)
class Sources:
    """What one account is of."""

    kind: Literal["upstream", "split", "dataset"]
    name: str
    split: str | None
    files: tuple[Source, ...]
    most_losses: float
    classes: int | None = None
    """Of the target that the images are labelled for."""


def sources_of(entry: Upstream | Target | Dataset, target: Target | None = None) -> tuple[Sources, ...]:
    """`target`: of a data set."""
    match entry:
        case Upstream():
            return (Sources("upstream", entry.name, None, entry.shards, entry.most_losses),)
        case Dataset():
            classes = len(target.classes) if target else None
            return (Sources("dataset", entry.name, None, (entry.images,), entry.most_losses, classes),)
        case Target():
            return tuple(
                Sources("split", entry.name, name, (split,), entry.most_losses, len(entry.classes))
                for name, split in entry.splits.by_name.items()
            )


def sources_of_experiment(resolved: ResolvedExperiment) -> tuple[Sources, ...]:
    """The upstream only where an arm needs it."""
    needs_upstream = any(planner_of(arm).needs(arm).upstream for arm in resolved.spec.arms)
    upstream = sources_of(resolved.upstream) if needs_upstream else ()
    targets = (each for target in resolved.targets for each in sources_of(target))
    by_name = {target.name: target for target in resolved.targets}
    datasets = (each for dataset in resolved.datasets for each in sources_of(dataset, by_name.get(dataset.target)))
    return (*upstream, *targets, *datasets)


def source_accounts(store: Store, finished: FinishedSteps, asked: Sequence[Sources]) -> tuple[SourceAccount, ...]:
    """Raises Transient."""
    steps = [[ingest_steps(file, sources.most_losses, sources.classes) for file in sources.files] for sources in asked]
    with store.read() as session:
        done = succeeded_among(session, {step for files in steps for versions in files for step in versions})
        embedded = embeddings_of(session, done)
    return tuple(
        _account(sources, [_first_of(versions, done) for versions in files], embedded, finished)
        for sources, files in zip(asked, steps, strict=True)
    )


def _first_of(versions: Sequence[StepId], done: Collection[StepId]) -> StepId | None:
    return next((step for step in versions if step in done), None)


def _account(
    sources: Sources,
    steps: Sequence[StepId | None],
    embedded: Mapping[StepId, Sequence[StepId]],
    finished: FinishedSteps,
) -> SourceAccount:
    results = read_finished(finished.ingested, (step for step in steps if step is not None))
    embeddings = read_finished(finished.embedded, (each for step in results for each in embedded.get(step, ())))
    told = [account for result in results.values() if (account := result.told)]
    notes = [_notes([embeddings[each] for each in embedded.get(step, ()) if each in embeddings]) for step in results]
    return SourceAccount(
        kind=sources.kind,
        name=sources.name,
        split=sources.split,
        files=sum(map(_files, sources.files)),
        ingested=sum(_files(file) for file, step in zip(sources.files, steps, strict=True) if step in results),
        account=joined((*told, *notes)),
    )


def _files(source: Source) -> int:
    return len(source.files) if isinstance(source, SourceFiles) else 1


def _notes(embeddings: Iterable[ImagesEmbedded]) -> Account:
    """Of one file. Several encoders may have embedded it: of each reason, what holds for most rows."""
    found: NamedByReason = {}
    for reason, named in (entry for each in embeddings for entry in each.notes.items()):
        found[reason] = max(found.get(reason, named), named, key=lambda known: known.count)
    return Account(notes=found)


def generation_notes(steps: Iterable[ManifestStep], finished: FinishedSteps) -> tuple[GenerationNotes, ...]:
    """By the target and arm that the steps' roles begin with. A step that several arms share is told of once."""
    known, found = {step.id: step for step in steps}, dict[tuple[str, str], Counter[str]]()
    for done, notes in read_finished(lambda step: finished.notes(known[step].kind, step), known).items():
        target, arm = known[done].role.split("/")[:2]
        held = {fact: count for fact, count in notes.items() if count}
        found.setdefault((target, arm), Counter()).update(held)
    return tuple(
        GenerationNotes(target=target, arm=arm, notes=dict(sorted(notes.items())))
        for (target, arm), notes in found.items()
        if notes
    )
