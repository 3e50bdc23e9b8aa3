"""Descriptors that recognise copies of images: ISC21's winner of the descriptor track (arXiv 2112.04323).

A backbone's last feature map, averaged over positions, through a linear layer and batch statistics. The network and its
preprocessing are those of github.com/lyakaap/ISC21-Descriptor-Track-1st (isc_feature_extractor/model.py, power 1)."""

from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from touchstone_contracts.problems import Invalid

SETTINGS, WEIGHTS = "descriptor.json", "model.safetensors"
SMALLEST_FEATURE = 1e-6
"""Features are cut below at this before they are averaged."""

ARCHITECTURE = r"^[\w.-]+$"
"""timm fetches what is named like an address."""


class DescriptorSettings(BaseModel):
    """What beside the weights decides a descriptor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(pattern=ARCHITECTURE)
    """Of the backbone, as timm names it."""
    dimension: int
    image_size: int
    """Images are squashed to a square of so many pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def transform(self) -> Any:
        """PIL RGB -> float tensor (3, size, size)."""
        return timm.data.create_transform(
            input_size=(3, self.image_size, self.image_size),
            interpolation="bilinear",
            mean=self.mean,
            std=self.std,
            crop_pct=1.0,
            crop_mode="squash",
        )


class CopyDescriptor(nn.Module):
    """(batch, 3, size, size) -> (batch, dimension), not normalised."""

    def __init__(self, settings: DescriptorSettings) -> None:
        super().__init__()
        backbone: Any = timm.create_model(settings.architecture, pretrained=False, features_only=True)
        self.backbone = backbone
        self.fc = nn.Linear(backbone.feature_info.channels()[-1], settings.dimension, bias=False)
        self.bn = nn.BatchNorm1d(settings.dimension)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.backbone(pixels)[-1].clamp(min=SMALLEST_FEATURE).mean(dim=(2, 3))
        described: torch.Tensor = self.bn(self.fc(features))
        return described


def write_descriptor(folder: Path, network: CopyDescriptor, settings: DescriptorSettings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)
    (folder / SETTINGS).write_text(settings.model_dump_json(indent=1))


def read_descriptor(folder: Path) -> tuple[CopyDescriptor, DescriptorSettings]:
    """Raises Invalid where `folder` holds none."""
    try:
        settings = DescriptorSettings.model_validate_json((folder / SETTINGS).read_bytes())
        network = CopyDescriptor(settings)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValidationError, RuntimeError, SafetensorError) as error:
        remedy = "write it with python -m touchstone_encoders.convert_descriptor"
        raise Invalid(f"{folder.name} is no copy descriptor ({error}): {remedy}", code="encoder_unloadable") from error
    return network, settings
