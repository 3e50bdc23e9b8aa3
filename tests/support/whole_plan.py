"""A plan carried out in this process: each step by the handlers of its queue, as it was stored and sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from touchstone_contracts.messages import StepFailed, StepMessage, StepReport
from touchstone_encoders.loading import EncoderCache
from touchstone_judge import tasks as judge
from touchstone_planning.dag import Plan
from touchstone_retrieval import tasks as retrieval
from touchstone_retrieval import tools as retrieval_tools
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import StepRunner
from touchstone_trainer import tasks as trainer
from touchstone_trainer import tools as trainer_tools
from touchstone_trainer.settings import TrainerSettings

HEARTBEAT_SECONDS = 60


@dataclass
class Reports:
    failed: list[StepFailed] = field(default_factory=list)

    def send(self, report: StepReport) -> None:
        if isinstance(report, StepFailed):
            self.failed.append(report)

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False


@dataclass(frozen=True)
class Workers:
    artifacts: Artifacts
    runners: dict[str, StepRunner[Any]]
    """By queue."""
    reports: Reports

    def carry_out(self, plan: Plan) -> None:
        self.artifacts.put_facts(plan.facts.blobs)
        for step in plan.steps:
            message = StepMessage(
                step_id=step.id, attempt=1, kind=step.kind, version=step.contract.version, request=step.stored
            )
            self.runners[step.contract.queue].run(message)
            assert not self.reports.failed, f"{step.role}: {self.reports.failed[0].problem.detail}"


@contextmanager
def workers_on(library: Path, index: Path, *, generates: bool = False) -> Iterator[Workers]:
    """Retrieval, trainer, judge and perhaps generator on the models and data of `library`, over an object store in
    memory."""
    artifacts, worker_library, reports = Artifacts(MemoryObjects()), Library(library), Reports()
    engine = QdrantEdgeIndex(index)
    encoders = EncoderCache(worker_library, torch.device("cpu"))
    handled: list[tuple[Any, Any]] = [
        (retrieval.handlers, retrieval_tools.Tools(artifacts, worker_library, encoders, engine)),
        (trainer.handlers, trainer_tools.build_tools(TrainerSettings(library=library, device="cpu"), artifacts)),
        (judge.handlers, judge.Tools(artifacts, FinishedSteps(artifacts))),
    ]
    if generates:
        handled.append(_generator(artifacts, worker_library))
    runners: dict[str, StepRunner[Any]] = {
        handlers.queue: StepRunner(
            handlers, tools, artifacts, reports, WorkerMetrics(), f"{handlers.queue}@test", HEARTBEAT_SECONDS
        )
        for handlers, tools in handled
    }
    try:
        yield Workers(artifacts, runners, reports)
    finally:
        engine.close()


def _generator(artifacts: Artifacts, worker_library: Library) -> tuple[Any, Any]:
    # Imported here: diffusers is seconds that a plan without generation shall not pay.
    from touchstone_generator import tasks as generator
    from touchstone_generator.pipelines import GeneratorCache

    return generator.handlers, generator.Tools(artifacts, GeneratorCache(worker_library, torch.device("cpu")))
