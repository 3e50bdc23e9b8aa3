"""The trainings of an arm at a size, epoch by epoch: those that have finished and those that workers are at."""

from collections.abc import Iterable

from pydantic import ValidationError
from touchstone_contracts.layout import Adaptation, Grid
from touchstone_contracts.problems import NotFound, Transient
from touchstone_contracts.steps import EncoderAdapted, EpochsSoFar
from touchstone_contracts.suggestions import unknown
from touchstone_contracts.values import StepId
from touchstone_contracts.views import TrainingRun, TrainingRuns, UnfinishedRun
from touchstone_runtime.finished import read_finished
from touchstone_store.steps import leased_among

from touchstone_api.results.reader import ResultsReader, one_target


def training_runs(
    reader: ResultsReader, experiment: str, arm: str, size: int | None, target: str | None
) -> TrainingRuns:
    """`size`: None for the largest. Raises NotFound, Invalid."""
    planned = reader.planned(experiment)
    target = one_target(planned.spec.targets, target)
    grid = _grid([each for each in planned.plan.layout.grids if each.target == target], arm, size)
    done = reader.done([each.step for each in grid.adaptations])
    found = read_finished(reader.finished.adapted, done)
    runs = [training_run(each, found[each.step]) for each in grid.adaptations if each.step in found]
    return TrainingRuns(
        experiment=experiment,
        target=target,
        arm=arm,
        size=grid.size,
        planned=len(grid.adaptations),
        runs=tuple(sorted(runs, key=_by_rate_and_seed)),
        unfinished=tuple(sorted(_unfinished(reader, grid.adaptations), key=_by_rate_and_seed)),
    )


def _by_rate_and_seed(run: TrainingRun | UnfinishedRun) -> tuple[float, int]:
    return run.learning_rate or 0.0, run.seed


def _unfinished(reader: ResultsReader, adaptations: Iterable[Adaptation]) -> list[UnfinishedRun]:
    by_step = {each.step: each for each in adaptations}
    with reader.store.read() as session:
        leased = leased_among(session, by_step)
    return [unfinished_run(by_step[step], _told(reader, step)) for step in leased]


def _told(reader: ResultsReader, step: StepId) -> EpochsSoFar | None:
    """None where the worker has told nothing yet, or nothing that can be read."""
    try:
        stored = reader.finished.artifacts.shown(step)
        return None if stored is None else EpochsSoFar.model_validate_json(stored)
    except (Transient, ValidationError):
        return None


def unfinished_run(adaptation: Adaptation, told: EpochsSoFar | None) -> UnfinishedRun:
    return UnfinishedRun(
        step=adaptation.step,
        learning_rate=adaptation.learning_rate,
        seed=adaptation.seed,
        epochs=told.epochs if told else (),
        planned_epochs=told.planned if told else None,
    )


def _grid(grids: list[Grid], arm: str, size: int | None) -> Grid:
    """Raises NotFound."""
    of_arm = {each.size: each for each in grids if each.arm == arm}
    if not of_arm:
        raise NotFound(unknown("trained arm", arm, list(dict.fromkeys(each.arm for each in grids))))
    size = max(of_arm) if size is None else size
    if size not in of_arm:
        raise NotFound(unknown("size", str(size), [str(each) for each in sorted(of_arm)]))
    return of_arm[size]


def training_run(adaptation: Adaptation, adapted: EncoderAdapted) -> TrainingRun:
    return TrainingRun(
        step=adaptation.step,
        learning_rate=adaptation.learning_rate,
        seed=adaptation.seed,
        available=adapted.available,
        updates=adapted.updates,
        best_epoch=adapted.best_epoch,
        epochs=adapted.epochs,
        first_stage=adapted.first_stage,
    )
