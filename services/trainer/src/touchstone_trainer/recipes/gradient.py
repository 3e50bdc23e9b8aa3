"""One run of a recipe, and what recipes that descend a gradient have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.optimisation import Optimisation
from touchstone_encoders.loading import LoadedEncoder
from touchstone_runtime.savepoints import NO_SAVEPOINTS, Savepoints
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.processes import ALONE, Processes
from touchstone_trainer.recipes.class_mean_head import start_from_class_means
from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.recipes.loop import Adapted, train
from touchstone_trainer.recipes.subject import Data, Subject


@dataclass(frozen=True)
class Run:
    learning_rate: float | None
    seed: int
    processes: Processes = ALONE
    progress: ProgressFunction = no_progress
    savepoints: Savepoints = NO_SAVEPOINTS


@dataclass(frozen=True)
class ByGradient:
    """Trains a learner; a head that no text can give starts at the class means."""

    learner: Callable[[Subject, Any, int], Learner]
    """(subject, recipe, seed) -> what is trained."""

    def __call__(self, subject: Subject, data: Data, recipe: Optimisation, run: Run) -> Adapted:
        """Raises Diverged, NoTextTower or Invalid."""
        if run.learning_rate is None:
            raise Invalid(f"{recipe.kind} needs a learning rate", code="learning_rate_missing")
        if not isinstance(subject.tower, LoadedEncoder):
            start_from_class_means(subject, data)
        return train(
            self.learner(subject, recipe, run.seed),
            subject,
            data,
            recipe,
            learning_rate=run.learning_rate,
            seed=run.seed,
            processes=run.processes,
            progress=run.progress,
            savepoints=run.savepoints,
        )
