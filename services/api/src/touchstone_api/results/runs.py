"""The trainings of an arm at a size, epoch by epoch."""

from touchstone_contracts.layout import Adaptation, Grid
from touchstone_contracts.problems import NotFound
from touchstone_contracts.steps import EncoderAdapted
from touchstone_contracts.suggestions import unknown
from touchstone_contracts.views import TrainingRun, TrainingRuns
from touchstone_runtime.finished import read_finished

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
        runs=tuple(sorted(runs, key=lambda run: (run.learning_rate or 0.0, run.seed))),
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
