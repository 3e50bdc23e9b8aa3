"""What a worker's bootstrap does after it has built its tools."""

from typing import TypeVar

from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.memory import ONLY_PYTHON, Memory
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.queue import celery_app
from touchstone_runtime.reports import connect_reports
from touchstone_runtime.serving import Handlers, StepRunner, serve_forever, worker_name
from touchstone_runtime.settings import WorkerSettings

ToolsT = TypeVar("ToolsT")


def run_worker(
    handlers: Handlers[ToolsT],
    tools: ToolsT,
    artifacts: Artifacts,
    settings: WorkerSettings,
    *,
    device: str,
    memory: Memory = ONLY_PYTHON,
) -> None:
    """Serves `handlers` until SIGTERM. `device`: the type of device that the tools compute on, as torch calls it.
    `memory`: what that framework raises when memory runs out, and how what it keeps is given back."""
    runner = StepRunner(
        handlers=handlers,
        tools=tools,
        artifacts=artifacts,
        reporter=connect_reports(settings.redis_url),
        metrics=WorkerMetrics(),
        worker=worker_name(settings, handlers.queue),
        heartbeat_seconds=settings.heartbeat_seconds,
        holds_gpu=device != "cpu",
        memory=memory,
    )
    serve_forever(celery_app(settings.redis_url), runner, settings)
