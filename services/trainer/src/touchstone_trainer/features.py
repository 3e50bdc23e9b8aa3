"""Features of whole splits by the untouched encoder: computed once, for every run and every worker that needs them."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from touchstone_contracts.identity import identity
from touchstone_contracts.steps import ModelRef
from touchstone_contracts.values import Digest
from touchstone_runtime.artifacts import Artifacts, read_array
from touchstone_runtime.caches import ByteCache
from touchstone_runtime.derived import DerivedParts

PART_BYTES = 64 * 2**20
"""Of features that are stored as one object."""


@dataclass(frozen=True)
class EmbeddedSplit:
    features: torch.Tensor
    """L2-normalised (images, dimension)."""
    class_ids: np.ndarray

    @property
    def labels(self) -> torch.Tensor:
        """int64 (images,), where the features are."""
        return torch.from_numpy(self.class_ids.astype(np.int64)).to(self.features.device)


class FrozenFeatures:
    """In the object store, those used last in memory too. What is stored is what would be computed here, bit for bit:
    other numerics have other names."""

    def __init__(self, artifacts: Artifacts, budget: int) -> None:
        self._artifacts = artifacts
        self._held = ByteCache[Digest, torch.Tensor](budget, lambda features: features.nbytes)
        self.use = self._held.use

    def get(self, name: Digest, images: int) -> torch.Tensor | None:
        """float32 (images, dimension) on the CPU; None where they were never stored, or are damaged."""
        held = self._held.get(name)
        if held is None:
            held = _read(self._artifacts.derived(name), images)
            if held is not None:
                self._held.put(name, held)
        return held

    def put(self, name: Digest, features: torch.Tensor) -> None:
        held = features.cpu()
        self._held.put(name, held)
        parts = self._artifacts.derived(name)
        for number, rows in enumerate(held.split(max(1, PART_BYTES // max(1, held[:1].nbytes)))):
            buffer = io.BytesIO()
            np.save(buffer, rows.numpy(), allow_pickle=False)
            parts.save(number, buffer.getvalue())


def features_name(ref: ModelRef, images: Digest, device: torch.device) -> Digest:
    """`images`: the digest of the split's manifest."""
    return identity(["frozen features", 1, ref.model_dump(mode="json"), images, numerics(device)])


def numerics(device: torch.device) -> list[str | int]:
    """What decides the last bits of a number."""
    if device.type == "cpu":
        return [torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    return [torch.__version__, torch.cuda.get_device_name(device) if device.type == "cuda" else device.type]


def _read(parts: DerivedParts, images: int) -> torch.Tensor | None:
    found, done, number = None, 0, 0
    while done < images:
        data = parts.load(number)
        if data is None:
            return None
        rows = torch.from_numpy(read_array(data))
        found = rows.new_empty((images, rows.shape[1])) if found is None else found
        found[done : done + len(rows)] = rows
        done, number = done + len(rows), number + 1
    return found
