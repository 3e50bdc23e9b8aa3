"""A whole study without a queue: in which order its steps are done, and by how many workers, decides nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.tiny_world import TinyWorld, tiny_study
from support.trainer_world import SilentReporter
from touchstone_contracts.catalogue import Catalogue, Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.messages import StepFailed, StepMessage
from touchstone_contracts.steps import ADAPT_ENCODER, CATALOGUE
from touchstone_encoders.loading import EncoderCache
from touchstone_generator import tasks as generator
from touchstone_generator.pipelines import GeneratorCache
from touchstone_judge import tasks as judge
from touchstone_planning.dag import Plan, PlannedStep
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_retrieval import tasks as retrieval
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.tools import Tools as RetrievalTools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, StepRunner
from touchstone_trainer import tasks as trainer
from touchstone_trainer.settings import TrainerSettings
from touchstone_trainer.tools import build_tools

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
STUDY = tiny_study(seeds=[0], evaluation={"metrics": ["zero_shot"]})
# Enough images for two chunks.
STUDY["arms"][2] |= {"images": 144, "sampler": {"steps": 1, "batch_size": 16}}


class Registered:
    """The catalogue of the tiny world, by name."""

    def __init__(self, world: TinyWorld) -> None:
        self._entries = Catalogue.model_validate(yaml.safe_load(world.catalogue.read_text()))

    def upstream(self, name: str) -> Upstream:
        return next(entry for entry in self._entries.upstreams if entry.name == name)

    def encoder(self, name: str) -> Encoder:
        return next(entry for entry in self._entries.encoders if entry.name == name)

    def generator(self, name: str) -> Generator:
        return next(entry for entry in self._entries.generators if entry.name == name)

    def target(self, name: str) -> Target:
        return next(entry for entry in self._entries.targets if entry.name == name)

    def dataset(self, name: str) -> Dataset:
        return next(entry for entry in self._entries.datasets if entry.name == name)


Workers = Mapping[str, Sequence[StepRunner[Any]]]
"""By queue; each with models and an index of its own."""


@contextmanager
def workers(world: TinyWorld, folder: Path, count: int, artifacts: Artifacts) -> Iterator[Workers]:
    library = Library(world.library)
    indexes = [QdrantEdgeIndex(folder / f"index-{number}") for number in range(count)]
    settings = TrainerSettings(library=world.library, threads=1)

    def runner(handlers: Handlers[Any], tools: Any, number: int) -> StepRunner[Any]:
        return StepRunner(handlers, tools, artifacts, SilentReporter(), WorkerMetrics(), f"worker {number}", 60)

    yield {
        "retrieval": [
            runner(retrieval.handlers, RetrievalTools(artifacts, library, EncoderCache(library, CPU), index), number)
            for number, index in enumerate(indexes)
        ],
        "generator": [
            runner(generator.handlers, generator.Tools(artifacts, GeneratorCache(library, CPU)), number)
            for number in range(count)
        ],
        "trainer": [runner(trainer.handlers, build_tools(settings, artifacts), number) for number in range(count)],
        "judge": [
            runner(judge.handlers, judge.Tools(artifacts, FinishedSteps(artifacts)), number) for number in range(count)
        ],
    }
    for index in indexes:
        index.close()


def run(plan: Plan, workers: Workers, pick: int) -> list[PlannedStep]:
    """The step at `pick` of those that are ready, until none is left, each kind by the workers in turn; as done."""
    waiting, done = list(plan.steps), list[PlannedStep]()
    while waiting:
        finished = {each.id for each in done}
        step = [each for each in waiting if set(each.inputs) <= finished][pick]
        hands = workers[CATALOGUE[step.kind].queue]
        do(step, hands[sum(each.kind == step.kind for each in done) % len(hands)])
        waiting.remove(step)
        done.append(step)
    return done


def do(step: PlannedStep, runner: StepRunner[Any]) -> None:
    contract = CATALOGUE[step.kind]
    request = step.request.model_dump(mode="json")
    runner.run(StepMessage(step_id=step.id, attempt=1, kind=step.kind, version=contract.version, request=request))
    last = runner.reporter.sent[-1]  # type: ignore[attr-defined]
    assert not isinstance(last, StepFailed), f"{step.role}: {last.problem.detail}\n{last.log_tail}"


def test_two_fresh_states_hold_the_same_results_whatever_the_order_and_the_number_of_workers(
    world: TinyWorld, tmp_path: Path
) -> None:
    plan = plan_experiment(resolve(ExperimentSpec.model_validate(STUDY), Registered(world)))
    orders, results, hands = [], [], []
    for count, pick in ((1, 0), (2, -1)):
        artifacts = Artifacts(MemoryObjects())
        with workers(world, tmp_path / str(count), count, artifacts) as staff:
            orders.append(run(plan, staff, pick))
        manifests = {step.id: artifacts.manifest(step.id) for step in plan.steps}
        results.append({step: manifest.result for step, manifest in manifests.items() if manifest is not None})
        hands.append({(each.kind, each.worker) for each in manifests.values() if each is not None})

    chunks = [[step.id for step in order if step.kind == "generate_images"] for order in orders]
    runs = [step.id for step in plan.steps if step.kind == ADAPT_ENCODER.name]
    assert len(chunks[0]) == 2
    assert chunks[0] == chunks[1][::-1]
    assert {(ADAPT_ENCODER.name, f"worker {number}") for number in range(2)} <= hands[1]
    assert len({results[0][step]["training_set"] for step in runs}) == 2 * 2  # arms, sizes
    assert [results[0][step]["training_set"] for step in runs] == [results[1][step]["training_set"] for step in runs]
    assert results[0] == results[1]
    assert len(results[0]) == len(plan.steps)
