"""What torch.compile gains at the real sizes, what it costs to start, and whether it still repeats."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from gpu.findings import Finding, Setting, relative_error, same_bytes
from gpu.speed_embedding import encoder
from gpu.speed_generation import guided_step, unet_of
from gpu.timing import seconds


def tower(setting: Setting) -> Iterator[Finding]:
    """ViT-B/16's image tower in bf16."""
    model = encoder(setting)
    size = 2 if setting.small else 256
    pixels = torch.randn(size, 3, model.image_size, model.image_size, device=model.device)

    def call_of(network: Any) -> Callable[[], torch.Tensor]:
        def call() -> torch.Tensor:
            with torch.inference_mode(), torch.autocast(model.device.type, dtype=torch.bfloat16):
                features: torch.Tensor = network(pixels)
                return features

        return call

    yield from _compared("ViT-B/16, bf16", call_of(model.visual), call_of(_compiled(model.visual, setting)), setting)


def unet(setting: Setting) -> Iterator[Finding]:
    """Stable Diffusion 1.5's UNet."""
    precision, size = (torch.float32, 1) if setting.small else (torch.float16, 8)
    network = unet_of(setting, precision)
    compiled = guided_step(_compiled(network, setting), size)
    yield from _compared("UNet", guided_step(network, size), compiled, setting)


def _compiled(network: Any, setting: Setting) -> Any:
    # A CPU at small sizes shows that it can be traced, without a compiler that takes minutes.
    return torch.compile(network, backend="eager" if setting.small else "inductor")


def _compared(
    what: str, plain: Callable[[], torch.Tensor], compiled: Callable[[], torch.Tensor], setting: Setting
) -> Iterator[Finding]:
    start = time.perf_counter()
    try:
        first = compiled().float().cpu()
    except Exception as error:  # no compiler, a model that cannot be traced: nothing of ours depends on it
        yield Finding(f"{what}, compiled", None, {"outcome": f"{type(error).__name__}: {error}"[:200]})
        return
    starting = time.perf_counter() - start
    taken, taken_compiled = seconds(plain, setting), seconds(compiled, setting)
    figures = {"start_s": starting, "speedup": taken / taken_compiled, "error": relative_error(first, plain())}
    repeats = same_bytes(what, [first.numpy(), compiled().float().cpu().numpy()]).passed
    yield Finding(f"{what}, compiled", None, figures | {"repeats": str(repeats)})
