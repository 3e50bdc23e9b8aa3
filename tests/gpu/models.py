"""Models with random weights on disk, written once per run and loaded as a worker loads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.tiny_models import tiny_backbone, tiny_encoder
from touchstone_contracts.catalogue import Encoder
from touchstone_contracts.steps import ModelRef
from touchstone_runtime.digests import folder_digest


def clip(folder: Path, name: str, config: Mapping[str, Any]) -> ModelRef:
    """The same name must always have the same configuration."""
    return ModelRef.of(_found(folder, name) or tiny_encoder(folder, name, model_config=config))


def backbone(folder: Path, architecture: str) -> ModelRef:
    found = _found(folder, architecture)
    if found is not None:
        return ModelRef.of(found.model_copy(update={"kind": "timm"}))
    return ModelRef.of(tiny_backbone(folder, architecture, architecture))


def _found(folder: Path, name: str) -> Encoder | None:
    path = folder / "models" / name
    return Encoder(name=name, model=f"library:models/{name}", digest=folder_digest(path)) if path.exists() else None
