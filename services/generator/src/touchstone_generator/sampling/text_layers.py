"""Layers that see nothing but the text have the same answer at every denoising step: it is computed at the first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import nn

Layer = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def text_computed_once(unet: Any) -> Iterator[None]:
    """Inside, these layers of `unet` remember their last input and answer; afterwards nothing is left of it.

    A pipeline hands one tensor of text conditions to all steps of a batch, so it is recognised by its identity and the
    images are bit by bit those without. Weights must not change inside. What is remembered takes 4 MB a row of Stable
    Diffusion 1.5 in half precision."""
    layers = list(text_layers(unet))
    for layer in layers:
        layer.forward = _remembering(layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def text_layers(unet: Any) -> Iterator[nn.Module]:
    """Keys and values of cross-attention, and the text's share of the step embedding where the UNet has one."""
    for module in unet.modules():
        if isinstance(module, Attention) and module.is_cross_attention:
            yield from (module.to_k, module.to_v)
    if unet.config.addition_embed_type == "text":
        yield unet.add_embedding


def _remembering(layer: Layer) -> Layer:
    seen: torch.Tensor | None = None
    answer = torch.empty(0)

    def answered(text: torch.Tensor) -> torch.Tensor:
        nonlocal seen, answer
        if text is not seen:
            seen, answer = text, layer(text)
        return answer

    return answered
