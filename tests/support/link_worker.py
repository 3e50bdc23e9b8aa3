"""A retrieval worker in this process that runs the plan of an experiment over an upstream of links."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from support.specs import DictLookup
from support.tiny_images import tiny_target
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval, Strategy
from touchstone_contracts.catalogue import Encoder, Upstream
from touchstone_contracts.curation import Curation, KeepAll
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.messages import StepFailed, StepMessage, StepReport
from touchstone_contracts.problems import Problem
from touchstone_contracts.sources import AllowedSources
from touchstone_contracts.steps import CATALOGUE
from touchstone_encoders.loading import EncoderCache
from touchstone_planning.dag import Plan, PlannedStep
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.tasks import handlers
from touchstone_retrieval.tools import Tools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import StepRunner


@dataclass
class Reports:
    last: StepReport | None = None

    def send(self, report: StepReport) -> None:
        self.last = report

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False


@dataclass
class LinkWorker:
    runner: StepRunner[Tools]
    reports: Reports

    @property
    def artifacts(self) -> Artifacts:
        return self.runner.artifacts

    def run(self, step: PlannedStep) -> Problem | None:
        """None, or why the step failed."""
        version, request = CATALOGUE[step.kind].version, step.request.model_dump(mode="json")
        self.runner.run(StepMessage(step_id=step.id, attempt=1, kind=step.kind, version=version, request=request))
        return self.reports.last.problem if isinstance(self.reports.last, StepFailed) else None

    def run_all(self, plan: Plan) -> None:
        """Every step of the retrieval queue, in the order of the plan."""
        for step in plan.steps:
            if CATALOGUE[step.kind].queue == "retrieval":
                problem = self.run(step)
                assert problem is None, f"{step.role}: {problem}"


@contextmanager
def link_worker(library: Path, folder: Path) -> Iterator[LinkWorker]:
    """It may download from this machine. `folder`: for the search index."""
    worker_library = Library(library, AllowedSources(hosts=("127.0.0.1",)))
    index = QdrantEdgeIndex(folder / "index")
    artifacts, reports = Artifacts(MemoryObjects()), Reports()
    encoders = EncoderCache(worker_library, torch.device("cpu"))
    tools = Tools(artifacts, worker_library, encoders, index, private_addresses=True)
    yield LinkWorker(StepRunner(handlers, tools, artifacts, reports, WorkerMetrics(), "retrieval@test", 60), reports)
    index.close()


def over_links(library: Path, upstream: Upstream, encoder: Encoder, strategy: Strategy) -> ResolvedExperiment:
    """An experiment with one arm, `retrieved`, on the target of tiny shapes, whose curation keeps all that it can."""
    lookup = DictLookup()
    lookup.upstreams, lookup.encoders = {upstream.name: upstream}, {encoder.name: encoder}
    lookup.targets = {"shapes": tiny_target(library)}
    spec = ExperimentSpec(
        name="links",
        upstream=upstream.name,
        encoder=encoder.name,
        targets=("shapes",),
        arms=(NoTraining(), Retrieval(name="retrieved", strategy=strategy)),
        sizes=(4,),
        seeds=(0,),
        curation=Curation(filter=KeepAll(), near_duplicate_cosine=None, leak_cosine=None),
    )
    return resolve(spec, lookup)


def planned_over_links(library: Path, upstream: Upstream, encoder: Encoder, strategy: Strategy) -> Plan:
    return plan_experiment(over_links(library, upstream, encoder, strategy))
