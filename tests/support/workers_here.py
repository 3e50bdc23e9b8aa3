"""Conductor and workers in this process: what a database waits for is computed one step at a time, without servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from support.memory_services import MemoryReports
from touchstone_api.bootstrap import Services
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.messages import StepMessage, StepReport
from touchstone_contracts.steps import CATALOGUE
from touchstone_encoders.loading import EncoderCache
from touchstone_generator import tasks as generator
from touchstone_generator.pipelines import GeneratorCache
from touchstone_judge import tasks as judge
from touchstone_planning.transitions import Limits
from touchstone_retrieval import tasks as retrieval
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.locations.connecting import connect_locations
from touchstone_retrieval.settings import RetrievalSettings
from touchstone_retrieval.tools import Tools as RetrievalTools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.presence import MemoryPresence
from touchstone_runtime.serving import Handlers, StepRunner
from touchstone_trainer import tasks as trainer
from touchstone_trainer.settings import TrainerSettings
from touchstone_trainer.tools import build_tools

CPU = torch.device("cpu")
# A step is computed before the conductor looks again, so a lease that it finds was left by somebody else.
AT_ONCE = Limits(lease=timedelta(0), retry=timedelta(0))


class WorkersHere:
    """A dispatcher that computes each step as it is sent: one worker per queue."""

    def __init__(
        self, artifacts: Artifacts, library: Path, index: QdrantEdgeIndex, retrieval_settings: RetrievalSettings
    ) -> None:
        self.reports = MemoryReports()
        self.done: list[StepMessage] = []
        self._artifacts = artifacts
        models = Library(library)
        settings = TrainerSettings(library=library, threads=1, device="cpu")
        self._runners: dict[str, StepRunner[Any]] = {
            "retrieval": self._runner(
                retrieval.handlers,
                RetrievalTools(
                    artifacts,
                    models,
                    EncoderCache(models, CPU),
                    index,
                    locations=connect_locations(retrieval_settings, artifacts.uploads),
                ),
            ),
            "generator": self._runner(generator.handlers, generator.Tools(artifacts, GeneratorCache(models, CPU))),
            "trainer": self._runner(trainer.handlers, build_tools(settings, artifacts)),
            "judge": self._runner(judge.handlers, judge.Tools(artifacts, FinishedSteps(artifacts))),
        }

    def _runner(self, handlers: Handlers[Any], tools: Any) -> StepRunner[Any]:
        return StepRunner(handlers, tools, self._artifacts, self, WorkerMetrics(), handlers.queue, 60)

    def send(self, message: StepMessage | StepReport) -> None:
        """Messages come from the conductor, reports from the workers."""
        if not isinstance(message, StepMessage):
            self.reports.waiting.append(message)
            return
        self._runners[CATALOGUE[message.kind].queue].run(message)
        self.done.append(message)

    def waiting(self, channel: str) -> int:
        return 0

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return step in self.reports.cancelled


@contextmanager
def workers_here(
    artifacts: Artifacts, library: Path, folder: Path, retrieval_settings: RetrievalSettings | None = None
) -> Iterator[WorkersHere]:
    """`folder`: for the search index. `retrieval_settings`: which locations may be read."""
    index = QdrantEdgeIndex(folder / "index")
    try:
        yield WorkersHere(artifacts, library, index, retrieval_settings or RetrievalSettings())
    finally:
        index.close()


def work_to_the_end(services: Services, workers: WorkersHere) -> None:
    """Until no step of an active plan is ready any more."""
    presence = MemoryPresence(clock=lambda: 0.0)
    conductor = Conductor(services.store, services.artifacts, workers.reports, workers, presence, limits=AT_ONCE)
    idle = 0
    while idle < 2:  # the reports of the last steps are received in a cycle of their own
        before = len(workers.done)
        assert conductor.cycle(0)
        idle = 0 if len(workers.done) > before else idle + 1
