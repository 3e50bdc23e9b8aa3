"""What decides an experiment's numbers, as one document."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy.orm import Session
from touchstone_contracts.messages import Environment
from touchstone_contracts.values import StepId
from touchstone_contracts.views import ExperimentManifest, MadeWith, ManifestStep, Results, SourceAccount, TrainingSet
from touchstone_runtime.finished import Made
from touchstone_store.experiments import require_experiment, resolved_of
from touchstone_verdict.results import Evaluations


def manifest_of(
    session: Session,
    experiment: str,
    evaluations: Evaluations,
    results: Results,
    accounts: tuple[SourceAccount, ...],
    steps: tuple[ManifestStep, ...],
    made: Mapping[StepId, Made],
) -> ExperimentManifest:
    """`steps`: of its plan; `made`: how those that are finished were computed. Raises NotFound."""
    found, resolved = require_experiment(session, experiment), resolved_of(session, experiment)
    encoders = (
        resolved.encoder,
        resolved.index_encoder,
        resolved.score_encoder,
        resolved.copy_encoder,
        resolved.judge_encoder,
    )
    return ExperimentManifest(
        identity=found.identity,
        spec=resolved.spec,
        upstream=resolved.upstream,
        encoders=tuple({encoder.name: encoder for encoder in encoders if encoder}.values()),
        generators=resolved.generators,
        targets=resolved.targets,
        datasets=resolved.datasets,
        steps=steps,
        training_sets=tuple(_training_sets(evaluations)),
        accounts=accounts,
        made_with=_made_with(steps, made),
        made_with_unknown=sum(each.environment is None for each in made.values()),
        complete=results.complete,
        results_digest=results.digest,
    )


def _made_with(steps: Iterable[ManifestStep], made: Mapping[StepId, Made]) -> tuple[MadeWith, ...]:
    environments: dict[str, Environment] = {}
    kinds: dict[str, Counter[str]] = {}
    for step in steps:
        environment = made[step.id].environment if step.id in made else None
        if environment is not None:
            name = environment.model_dump_json()
            environments[name] = environment
            kinds.setdefault(name, Counter())[step.kind] += 1
    found = (
        MadeWith(kinds=tuple(sorted(counts)), steps=counts.total(), environment=environments[name])
        for name, counts in kinds.items()
    )
    return tuple(sorted(found, key=lambda each: (-each.steps, each.kinds)))


def _training_sets(evaluations: Evaluations) -> Iterator[TrainingSet]:
    for cell, result in evaluations:
        if result.training_set is not None:
            yield TrainingSet(
                target=cell.target, arm=cell.arm, size=cell.size, seed=cell.seed, digest=result.training_set
            )
