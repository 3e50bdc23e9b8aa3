"""What a worker's bootstrap does after it has built its tools."""

from collections.abc import Mapping
from typing import TypeVar

from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import CacheUse
from touchstone_runtime.environment import describer
from touchstone_runtime.memory import ONLY_PYTHON, Memory
from touchstone_runtime.metrics import Cuda, WorkerMetrics
from touchstone_runtime.presence import connect_presence
from touchstone_runtime.queue import celery_app
from touchstone_runtime.reports import connect_reports
from touchstone_runtime.serving import Handlers, StepRunner, serve_forever, worker_name
from touchstone_runtime.settings import WorkerSettings
from touchstone_runtime.tracing import connect_traces

ToolsT = TypeVar("ToolsT")


def run_worker(
    handlers: Handlers[ToolsT],
    tools: ToolsT,
    artifacts: Artifacts,
    settings: WorkerSettings,
    *,
    device: str,
    memory: Memory = ONLY_PYTHON,
    cuda: Cuda | None = None,
    caches: Mapping[str, CacheUse] | None = None,
) -> None:
    """Serves `handlers` until SIGTERM, or until it was idle for as long as the settings say.

    `device`: the type of device that the tools compute on, as torch calls it; `memory`: what that framework raises when
    memory runs out, and how what it keeps is given back; `cuda`: torch.cuda; `caches`: how those of the tools are used,
    by name."""
    traces = connect_traces(handlers.queue, settings)
    redis = settings.redis_url.get_secret_value(), settings.ca_file
    runner = StepRunner(
        handlers=handlers,
        tools=tools,
        artifacts=artifacts,
        reporter=connect_reports(*redis),
        metrics=_metrics(handlers, cuda, caches or {}),
        worker=worker_name(settings, handlers.queue),
        heartbeat_seconds=settings.heartbeat_seconds,
        holds_gpu=device != "cpu",
        stall_seconds=settings.stall_seconds,
        savepoint_seconds=settings.savepoint_seconds,
        traces=traces,
        memory=memory,
        environment=describer(device, cuda),
    )
    try:
        serve_forever(celery_app(*redis), runner, connect_presence(*redis), settings)
    finally:
        traces.close()


def _metrics(handlers: Handlers[ToolsT], cuda: Cuda | None, caches: Mapping[str, CacheUse]) -> WorkerMetrics:
    metrics = WorkerMetrics()
    metrics.expect(handlers.units)
    metrics.watch_caches(caches)
    if cuda is not None:
        metrics.watch_gpu(cuda)
    return metrics
