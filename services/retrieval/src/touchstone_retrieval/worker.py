"""Queue entry: `python -m touchstone_retrieval.worker`."""

import torch
from touchstone_encoders.devices import configure_torch, torch_memory
from touchstone_encoders.loading import pick_device
from touchstone_runtime.bootstrap import run_worker
from touchstone_runtime.logs import configure_logs

from touchstone_retrieval.settings import RetrievalSettings
from touchstone_retrieval.tasks import handlers
from touchstone_retrieval.tools import build_tools


def main() -> None:
    settings = RetrievalSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    configure_torch(settings.threads)
    tools = build_tools(settings)
    try:
        device = pick_device(settings.device).type
        run_worker(
            handlers,
            tools,
            tools.artifacts,
            settings,
            device=device,
            memory=torch_memory(tools.encoders),
            cuda=torch.cuda,
            caches=tools.caches,
        )
    finally:
        tools.index.close()


if __name__ == "__main__":
    main()
