"""One adaptation on several GPUs: `accelerate launch --multi_gpu -m touchstone_trainer.distributed REQUEST.json`.

REQUEST.json is an AdaptEncoder request; store and library come from the environment as for a worker. The result lies
where a worker would look for it, so an experiment that needs the run finds it done."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import PartialState
from touchstone_contracts.messages import StepFailed, StepMessage, StepReport
from touchstone_contracts.steps import ADAPT_ENCODER, AdaptEncoder
from touchstone_encoders.devices import torch_memory
from touchstone_encoders.loading import pick_device
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.logs import configure_logs
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.serving import Progress, StepRunner, worker_name

from touchstone_trainer.processes import Processes
from touchstone_trainer.settings import TrainerSettings
from touchstone_trainer.tasks import adapt_encoder, handlers
from touchstone_trainer.tools import Tools, build_tools
from touchstone_trainer.worker import configure_torch


@dataclass
class LastReport:
    """There is no conductor to report to: the end of the run is what counts."""

    report: StepReport | None = None

    def send(self, report: StepReport) -> None:
        self.report = report

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False


@contextmanager
def launched(device: str) -> Iterator[PartialState]:
    """The processes that `accelerate launch` started; alone without it. Over gloo on CPUs."""
    state = PartialState(cpu=pick_device(device).type == "cpu")
    try:
        yield state
    finally:
        state.destroy_process_group()


def main() -> None:
    settings = TrainerSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    configure_torch(settings.threads)
    request = AdaptEncoder.model_validate_json(Path(sys.argv[1]).read_text())
    artifacts = Artifacts(connect_objects(settings))
    with launched(settings.device) as state:
        tools = replace(
            build_tools(settings.model_copy(update={"device": str(state.device)}), artifacts),
            processes=Processes(state.process_index, state.num_processes),
        )
        # Asked by all before the first may write: they compute together or not at all.
        found = artifacts.present(ADAPT_ENCODER.step_id(request)) is not None
        state.wait_for_everyone()
        if not found:
            run(request, tools, settings)


def run(request: AdaptEncoder, tools: Tools, settings: TrainerSettings) -> None:
    """The first process writes the manifest, the others compute with it. Raises SystemExit with the problem."""
    reporter = LastReport()
    message = StepMessage(
        step_id=ADAPT_ENCODER.step_id(request),
        attempt=1,
        kind=ADAPT_ENCODER.name,
        version=ADAPT_ENCODER.version,
        request=request.model_dump(mode="json"),
    )
    if tools.processes.rank != 0:
        adapt_encoder(request, tools, Progress(message, reporter))
        return
    StepRunner(
        handlers=handlers,
        tools=tools,
        artifacts=tools.artifacts,
        reporter=reporter,
        metrics=WorkerMetrics(),
        worker=worker_name(settings, handlers.queue),
        heartbeat_seconds=settings.heartbeat_seconds,
        memory=torch_memory(tools.encoders),
    ).run(message)
    if isinstance(reporter.report, StepFailed):
        raise SystemExit(reporter.report.problem.detail)


if __name__ == "__main__":
    main()
