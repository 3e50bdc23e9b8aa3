"""A long training run on a worker that is killed again and again ends with the weights of an undisturbed one, and costs
little more."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
from support.amounts import Amounts, Tally
from support.killing import Bucket, forget_results
from support.tiny_world import tiny_study
from support.trials import Trials
from support.waiting import until
from touchstone_contracts.views import ExperimentDetail, StepView
from touchstone_stack.supervision import Supervisor

MOST_CPU = 1.3
"""Times what the run takes undisturbed, the starts of new workers included."""
FURTHER = 20
"""Updates that must be done between two kills: what was done was not done in vain."""


def long_study(images: int, epochs: int) -> dict[str, object]:
    """One run that is trained, of an update for each image an epoch."""
    generation = {"kind": "generation", "name": "synthetic", "generator": "tiny-diffusion", "images": 2 * images}
    return tiny_study(
        name=f"trained for {epochs} epochs",
        arms=[{"kind": "none"}, generation | {"sampler": {"steps": 4, "batch_size": 4}}],
        comparison={"a": "synthetic", "b": "none"},
        sizes=[images],
        seeds=[0],
        recipe={"kind": "cross_entropy", "learning_rates": [0.0001], "epochs": epochs, "batch_size": 1},
    )


@dataclass
class Trainer:
    """The only one, whoever it is at the moment, and what all of them have computed."""

    supervisor: Supervisor
    spent: float = field(default=0.0, init=False)
    """CPU seconds of those that are gone, less what the first had spent before."""

    def __post_init__(self) -> None:
        self.spent = -self._seconds()

    @property
    def pid(self) -> int:
        return self.supervisor.pid_of("trainer")

    def _seconds(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def cpu_seconds(self) -> float:
        return self.spent + self._seconds()

    def kill(self) -> None:
        """Another one is running when this returns."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)  # nothing is spent any more
        self.spent += self._seconds()
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.pid not in (0, pid), within=120)


@contextmanager
def one_trainer(trials: Trials) -> Iterator[Trainer]:
    trials.supervisor.stop("trainer-2")
    try:
        yield Trainer(trials.supervisor)
    finally:
        trials.supervisor.start("trainer-2")


def test_a_training_run_that_is_killed_again_and_again_ends_with_the_same_weights(
    faulted: Trials, amounts: Amounts, counted: Tally
) -> None:
    client = faulted.client
    first, _ = client.post_document(long_study(amounts.training_images, amounts.training_epochs))
    with one_trainer(faulted) as trainer:
        undisturbed = client.wait(first.id, timeout=3600)
        alone = trainer.cpu_seconds()
    results, weights = client.results(first.id), weights_of(faulted, undisturbed)
    forget_results(faulted.stack, undisturbed, {"adapt_encoder", "evaluate_encoder", "judge_experiment"})
    clone = client.clone(first.id, {"name": f"killed while trained for {amounts.training_epochs} epochs"})
    with one_trainer(faulted) as trainer:
        done = 0
        for _ in range(amounts.training_kills):
            done = until(lambda done=done: further(faulted, clone.id, done), within=600)  # type: ignore[misc]
            trainer.kill()
        ended = faulted.finished(clone.id, within=3600)
        killed = trainer.cpu_seconds()
    assert client.results(clone.id).digest == results.digest
    assert weights_of(faulted, ended) == weights
    assert training(ended).attempt > amounts.training_kills
    counted(f"{amounts.training_kills} kills: {killed:.0f} CPU seconds, undisturbed {alone:.0f}: {killed / alone:.2f}x")
    assert killed <= MOST_CPU * alone or amounts.training_epochs < 1000, "too short to tell"
    bucket = Bucket(faulted.stack)
    assert list(bucket.client.list_objects(bucket.name, prefix="savepoints/", recursive=True)) == []


def further(trials: Trials, experiment: str, done: int) -> int:
    """How far the run is, once it is further than it was; it must not end meanwhile."""
    step = training(trials.client.experiment(experiment))
    assert step.state != "succeeded", "it ended before it was killed as often as planned"
    return step.done if step.state == "leased" and step.done > done + FURTHER else 0


def training(experiment: ExperimentDetail) -> StepView:
    [step] = [step for step in experiment.step_list if step.kind == "adapt_encoder"]
    return step


def weights_of(trials: Trials, finished: ExperimentDetail) -> str:
    digest: str = Bucket(trials.stack).result(training(finished).id)["weights"]["digest"]
    return digest
