"""A nested state of tensors and plain values as bytes of safetensors: nothing in them can be executed."""

import json
from typing import Any

import torch
from safetensors.torch import load, save
from touchstone_runtime.trees import put_together, taken_apart

TREE = "tree"
"""The tensor that holds the JSON around the others."""


def state_bytes(state: Any) -> bytes:
    """Tensors keep how their dimensions lie in memory: the order in which numbers are added up follows it."""
    tree, tensors = taken_apart(state, torch.Tensor)
    orders = [sorted(range(tensor.ndim), key=tensor.stride, reverse=True) for tensor in tensors]
    text = torch.frombuffer(bytearray(json.dumps([orders, tree]).encode()), dtype=torch.uint8)
    # Clones: safetensors refuses tensors that share their memory, as tied weights do.
    numbered = {
        str(number): tensor.detach().permute(order).clone(memory_format=torch.contiguous_format)
        for number, (tensor, order) in enumerate(zip(tensors, orders, strict=True))
    }
    return save({TREE: text} | numbered)


def state_of(data: bytes) -> Any:
    """On the CPU. Raises an error of whatever is wrong with the bytes."""
    stored = load(data)
    orders, tree = json.loads(stored.pop(TREE).numpy().tobytes())
    return put_together(tree, [_as_it_lay(stored[str(number)], order) for number, order in enumerate(orders)])


def _as_it_lay(tensor: torch.Tensor, order: list[int]) -> torch.Tensor:
    return tensor.permute([order.index(dimension) for dimension in range(tensor.ndim)])
