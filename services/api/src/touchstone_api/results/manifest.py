"""What decides an experiment's numbers, as one document."""

from collections.abc import Iterator

from touchstone_contracts.identity import identity
from touchstone_contracts.views import ExperimentManifest, ManifestStep, Results, TrainingSet
from touchstone_planning.resolved import ResolvedExperiment

from touchstone_api.results.evaluations import Finished


def manifest_of(resolved: ResolvedExperiment, finished: Finished, results: Results) -> ExperimentManifest:
    encoders = (resolved.encoder, resolved.index_encoder, resolved.score_encoder, resolved.copy_encoder)
    return ExperimentManifest(
        identity=identity(resolved),
        spec=resolved.spec,
        upstream=resolved.upstream,
        encoders=tuple({encoder.name: encoder for encoder in encoders if encoder}.values()),
        generators=resolved.generators,
        targets=resolved.targets,
        steps=tuple(
            ManifestStep(id=step.id, kind=step.kind, role=step.role, inputs=step.inputs) for step in finished.plan.steps
        ),
        training_sets=tuple(_training_sets(finished)),
        complete=results.complete,
        results_digest=results.digest,
    )


def _training_sets(finished: Finished) -> Iterator[TrainingSet]:
    for cell, step in finished.plan.evaluations.items():
        result = finished.evaluations.get(step)
        if result is not None and result.training_set is not None:
            yield TrainingSet(
                target=cell.target, arm=cell.arm, size=cell.size, seed=cell.seed, digest=result.training_set
            )
