"""How a loaded pipeline computes: its precision, and what trades speed for memory."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from touchstone_contracts.families import Half

Precision = Literal["auto", "float32", "float16", "bfloat16"]
Offload = Literal["none", "model", "sequential"]


@dataclass(frozen=True)
class Execution:
    precision: Precision = "auto"
    compiled: bool = False
    attention_slicing: bool = False
    offload: Offload = "none"

    @property
    def other_arithmetic(self) -> str:
        """What gives other last bits than a worker without settings; empty if nothing does."""
        told = [
            "" if self.precision == "auto" else self.precision,
            "compiled" if self.compiled else "",
            "sliced attention" if self.attention_slicing else "",
        ]
        return ", ".join(filter(None, told))

    def dtype(self, device: torch.device, half: Half) -> torch.dtype:
        """`half`: that of the generator's family."""
        precision = ("float32" if device.type == "cpu" else half) if self.precision == "auto" else self.precision
        found: torch.dtype = getattr(torch, precision)
        return found

    def apply(self, pipeline: Any, device: torch.device) -> None:
        """Moves the pipeline to the device, as far as it is not to be offloaded, and sets the rest."""
        if self.attention_slicing:
            pipeline.enable_attention_slicing()
        if self.compiled:
            denoiser(pipeline).compile()
        if self.offload == "none" or device.type == "cpu":
            pipeline.to(device)
        elif self.offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.enable_sequential_cpu_offload(device=device)


PLAIN = Execution()


def denoiser(pipeline: Any) -> Any:
    """The network that is called at every step: a UNet or a transformer."""
    return pipeline.components.get("unet") or pipeline.components["transformer"]


def compute_device(pipeline: Any) -> torch.device:
    """Where it computes; an offloaded pipeline's `device` is where its weights wait."""
    found: torch.device = pipeline._execution_device
    return found


def is_compiled(network: torch.nn.Module) -> bool:
    return network._compiled_call_impl is not None
