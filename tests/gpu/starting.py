"""What a worker sets before CUDA starts, and which device it takes."""

import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from accelerate import PartialState
from gpu.findings import Finding, Setting, close, same_bytes
from torch import nn
from torch.nn import functional
from touchstone_encoders import loading
from touchstone_generator import pipelines
from touchstone_runtime.settings import WorkerSettings
from touchstone_trainer.determinism import repeatable
from touchstone_trainer.distributed import launched

FP32 = 5e-5
"""Relative, against float64: room for transformed convolutions. TF32 would give about 3e-4."""


def devices(setting: Setting) -> Iterator[Finding]:
    """TOUCHSTONE_DEVICE: `auto` takes the GPU where there is one, any other name is taken as it is."""
    kind = setting.device.type
    for name, wanted in {"auto": kind, kind: kind, "cpu": "cpu"}.items():
        with patch.dict(os.environ, {"TOUCHSTONE_DEVICE": name}):
            settings = WorkerSettings()
        for service in (loading, pipelines):
            found = torch.zeros(1, device=service.pick_device(settings.device)).device.type
            what = f"TOUCHSTONE_DEVICE={name}, {service.__name__.partition('.')[0]}"
            yield Finding(what, found == wanted, {"device": found})
    with launched(str(setting.device)) as state:
        state_kind = _kind(state)
    yield Finding("one process of a training on several GPUs", state_kind == kind, {"device": state_kind})


def _kind(state: PartialState) -> str:
    found: Any = state.device
    return str(found.type)


def flags(setting: Setting) -> Iterator[Finding]:
    """The workspace of cuBLAS is fixed before CUDA starts, fp32 is fp32, and no kernel is chosen by a race."""
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG", "")
    yield Finding("CUBLAS_WORKSPACE_CONFIG", workspace == ":4096:8", {"value": workspace})
    yield Finding("no kernel is chosen by timing", not torch.backends.cudnn.benchmark)
    yield Finding("kernels are deterministic", torch.are_deterministic_algorithms_enabled())
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    product = left.to(setting.device) @ right.to(setting.device)
    yield close("fp32 matrix product", product, left.double() @ right.double(), FP32)
    images, kernels = torch.randn(4, 16, 32, 32, generator=generator), torch.randn(32, 16, 3, 3, generator=generator)
    convolved = functional.conv2d(images.to(setting.device), kernels.to(setting.device))
    yield close("fp32 convolution", convolved, functional.conv2d(images.double(), kernels.double()), FP32)


def strict_attention(setting: Setting) -> Iterator[Finding]:
    """The gradient of attention in half precision, which is what differs from run to run where torch only warns."""
    gradients = [repeatable(lambda: _attention_gradient(setting), setting.device) for _ in range(2)]
    yield same_bytes("gradient of attention twice", gradients)
    wanted = _attention_gradient(Setting(torch.device("cpu"), setting.folder, setting.small))
    yield close(
        "gradient of attention",
        torch.frombuffer(bytearray(gradients[0]), dtype=torch.float32),
        torch.frombuffer(bytearray(wanted), dtype=torch.float32),
        5e-2,
    )


def _attention_gradient(setting: Setting) -> bytes:
    generator = torch.Generator().manual_seed(0)
    attention = nn.MultiheadAttention(64, 4, batch_first=True)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    tokens = torch.randn(4 if setting.small else 32, 50, 64, generator=generator).to(setting.device)
    attention.to(setting.device)
    with torch.autocast(setting.device.type, dtype=torch.bfloat16):
        answer, _ = attention(tokens, tokens, tokens, need_weights=False)
    answer.float().square().mean().backward()
    gradient = attention.in_proj_weight.grad
    assert gradient is not None
    found: bytes = gradient.float().cpu().numpy().tobytes()
    return found
