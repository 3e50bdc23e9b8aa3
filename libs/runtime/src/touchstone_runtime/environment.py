"""The software and the machine that a worker computes with, for whoever reports a result."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

from touchstone_contracts.messages import Environment

from touchstone_runtime.metrics import Cuda

CPU_FACTS = Path("/proc/cpuinfo")


def describer(device: str, cuda: Cuda | None) -> Callable[[], Environment]:
    """What describes this process when a step has been computed. CUDA is asked for the card's name only where a step
    has used it: to ask takes hundreds of megabytes of a card that others may share."""
    here = describe_environment("cpu" if cuda is not None and device == "cuda" else device)

    def describe() -> Environment:
        if cuda is None or not cuda.is_initialized():
            return here
        return here.model_copy(update={"device": cuda.get_device_name()})

    return describe


def describe_environment(device: str) -> Environment:
    """Of this process. `device`: the name of what it computes on, e.g. "NVIDIA H200", or "cpu"."""
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cpus=usable_cpus(),
        device=device,
        packages=installed_packages(),
    )


def cpu_name() -> str:
    """As the processor calls itself; the architecture where the system does not tell."""
    try:
        lines = CPU_FACTS.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def usable_cpus() -> int:
    """That the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_packages() -> dict[str, str]:
    """Name -> version of every distribution that can be imported, by name."""
    # A distribution parses its file anew whenever it is asked for a part of it.
    read = (each.metadata for each in distributions())
    found = {facts["Name"]: facts["Version"] for facts in read if facts["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))
