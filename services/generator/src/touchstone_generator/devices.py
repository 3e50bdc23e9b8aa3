"""How the generator sets torch up, and what it does when memory runs out."""

import os

import torch
from touchstone_runtime.memory import Memory

from touchstone_generator.pipelines import GeneratorCache


def configure_torch(threads: int) -> None:
    """The same request gives the same bytes on the same hardware. Call it before CUDA starts.

    `threads` 0 leaves torch's own number."""
    if threads:
        torch.set_num_threads(threads)
    # cuBLAS needs a fixed workspace to be deterministic; read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Said in full, as torch's defaults differ: fp32 is fp32 in convolutions too, and no kernel is chosen by a race.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def arithmetic(device: torch.device) -> str:
    """What may decide the last bit of a result beside what is computed: torch, the device and how it is used."""
    if device.type == "cuda":
        return f"torch {torch.__version__} on {torch.cuda.get_device_name(device)}"
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} on {device.type} ({kernels}) with {torch.get_num_threads()} threads"


def torch_memory(generators: GeneratorCache) -> Memory:
    """Frees the loaded pipelines and torch's reserve of a GPU's memory."""

    def release() -> None:
        generators.clear()
        torch.cuda.empty_cache()

    return Memory(errors=(torch.OutOfMemoryError,), release=release)
