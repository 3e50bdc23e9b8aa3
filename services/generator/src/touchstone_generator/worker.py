"""The generator worker: `python -m touchstone_generator.worker`."""

import diffusers
import torch
import transformers
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.bootstrap import run_worker
from touchstone_runtime.library import Library
from touchstone_runtime.logs import configure_logs
from touchstone_runtime.objects import connect_objects

from touchstone_generator.devices import configure_torch, torch_memory
from touchstone_generator.pipelines import GeneratorCache, pick_device
from touchstone_generator.settings import GeneratorSettings
from touchstone_generator.tasks import Tools, handlers


def build_tools(settings: GeneratorSettings, artifacts: Artifacts) -> Tools:
    library = Library(settings.library, settings.allowed_sources)
    generators = GeneratorCache(library, pick_device(settings.device), settings.models_bytes, settings.execution)
    return Tools(artifacts=artifacts, generators=generators)


def quieten_libraries() -> None:
    """Progress goes to the conductor; bars and advice on stderr would drown the facts in the log."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def main() -> None:
    settings = GeneratorSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    quieten_libraries()
    configure_torch(settings.threads)
    artifacts = Artifacts(connect_objects(settings))
    device = pick_device(settings.device).type
    tools = build_tools(settings, artifacts)
    memory, caches = torch_memory(tools.generators), {"generator": tools.generators.use}
    run_worker(handlers, tools, artifacts, settings, device=device, memory=memory, cuda=torch.cuda, caches=caches)


if __name__ == "__main__":
    main()
