"""The generator worker's settings; the environment is read once, by worker.py."""

from touchstone_runtime.settings import WorkerSettings

from touchstone_generator.execution import Execution, Offload, Precision


class GeneratorSettings(WorkerSettings):
    """How pipelines are run. What an image shows stands in the request, never in the environment; images whose last
    bits follow from a setting are counted in `notes.other_arithmetic`."""

    torch_dtype: Precision = "auto"
    """`auto`: float32 on a CPU, the half precision of the generator's family on a GPU."""
    torch_compile: bool = False
    """Compiles the denoising network: faster after a minute's start, other last bits."""
    attention_slicing: bool = False
    """Attention of a UNet in pieces: less memory, slower, other last bits."""
    offload: Offload = "none"
    """Keeps what does not compute in the CPU's memory: `model` one network at a time, `sequential` layer by layer,
    which needs the least memory and is slowest. The same images. Without effect on a CPU."""

    @property
    def execution(self) -> Execution:
        return Execution(self.torch_dtype, self.torch_compile, self.attention_slicing, self.offload)
