"""Queue entry: `python -m touchstone_retrieval.worker`."""

import torch
from touchstone_encoders.loading import pick_device
from touchstone_runtime.bootstrap import run_worker
from touchstone_runtime.logs import configure_logs

from touchstone_retrieval.settings import RetrievalSettings
from touchstone_retrieval.tasks import handlers
from touchstone_retrieval.tools import build_tools


def main() -> None:
    settings = RetrievalSettings()
    configure_logs(settings.log_level, settings.log_format)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    tools = build_tools(settings)
    try:
        device = pick_device(settings.device).type
        run_worker(handlers, tools, tools.artifacts, settings, device=device, cuda=torch.cuda, caches=tools.caches)
    finally:
        tools.index.close()


if __name__ == "__main__":
    main()
