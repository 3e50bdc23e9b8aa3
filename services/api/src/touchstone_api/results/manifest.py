"""What decides an experiment's numbers, as one document."""

from collections.abc import Iterator

from sqlalchemy.orm import Session
from touchstone_contracts.views import ExperimentManifest, Results, SourceAccount, TrainingSet
from touchstone_store.experiments import require_experiment, resolved_of
from touchstone_store.layouts import planned_steps
from touchstone_verdict.results import Evaluations


def manifest_of(
    session: Session,
    experiment: str,
    evaluations: Evaluations,
    results: Results,
    accounts: tuple[SourceAccount, ...],
) -> ExperimentManifest:
    """Raises NotFound."""
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
        steps=tuple(planned_steps(session, experiment)),
        training_sets=tuple(_training_sets(evaluations)),
        accounts=accounts,
        complete=results.complete,
        results_digest=results.digest,
    )


def _training_sets(evaluations: Evaluations) -> Iterator[TrainingSet]:
    for cell, result in evaluations:
        if result.training_set is not None:
            yield TrainingSet(
                target=cell.target, arm=cell.arm, size=cell.size, seed=cell.seed, digest=result.training_set
            )
