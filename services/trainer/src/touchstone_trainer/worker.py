"""Queue entry of the trainer: `python -m touchstone_trainer.worker`."""

import os

import torch
from touchstone_encoders.loading import pick_device
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.bootstrap import run_worker
from touchstone_runtime.logs import configure_logs
from touchstone_runtime.objects import connect_objects

from touchstone_trainer.settings import TrainerSettings
from touchstone_trainer.tasks import handlers
from touchstone_trainer.tools import build_tools


def configure_torch(threads: int) -> None:
    """The same step on the same hardware at the same thread count gives the same bytes."""
    if threads:
        torch.set_num_threads(threads)
    # Read by cuBLAS when CUDA starts; without it matrix products differ between runs.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # A warning where a GPU operation has no deterministic kernel: such a model must still train.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Vanishing weights would otherwise become denormal numbers, which CPUs handle ten times slower.
    torch.set_flush_denormal(True)


def main() -> None:
    settings = TrainerSettings()
    configure_logs(settings.log_level, settings.log_format)
    configure_torch(settings.threads)
    artifacts = Artifacts(connect_objects(settings))
    device = pick_device(settings.device).type
    tools = build_tools(settings, artifacts)
    run_worker(handlers, tools, artifacts, settings, device=device, cuda=torch.cuda, caches=tools.caches)


if __name__ == "__main__":
    main()
