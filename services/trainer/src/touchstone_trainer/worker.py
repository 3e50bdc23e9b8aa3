"""Queue entry of the trainer: `python -m touchstone_trainer.worker`."""

import torch
from touchstone_encoders import devices
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
    devices.configure_torch(threads)
    # Vanishing weights would otherwise become denormal numbers, which CPUs handle ten times slower.
    torch.set_flush_denormal(True)


def main() -> None:
    settings = TrainerSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    configure_torch(settings.threads)
    artifacts = Artifacts(connect_objects(settings))
    device = pick_device(settings.device).type
    tools = build_tools(settings, artifacts)
    run_worker(
        handlers,
        tools,
        artifacts,
        settings,
        device=device,
        memory=devices.torch_memory(tools.encoders),
        cuda=torch.cuda,
        caches=tools.caches,
    )


if __name__ == "__main__":
    main()
