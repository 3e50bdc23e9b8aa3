"""One adapter per contract of the queue `judge`."""

from dataclasses import dataclass

from touchstone_contracts.steps import JUDGE_EXPERIMENT, ExperimentJudged, JudgeExperiment
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.serving import Handlers, Progress


@dataclass(frozen=True)
class Tools:
    artifacts: Artifacts


handlers = Handlers[Tools]("judge")


@handlers.serve(JUDGE_EXPERIMENT)
def judge_experiment(request: JudgeExperiment, tools: Tools, progress: Progress) -> ExperimentJudged:
    raise NotImplementedError
