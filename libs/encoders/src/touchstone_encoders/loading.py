"""Loading encoders by reference: CLIP through open_clip, image backbones through timm, copy descriptors.

A local folder and a hub checkpoint take the same path."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import open_clip
import timm
import torch
from PIL import Image
from torch import nn
from touchstone_contracts.catalogue import EncoderKind
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ModelRef
from touchstone_runtime.caches import CacheUse
from touchstone_runtime.library import Library
from touchstone_runtime.phases import phase

from touchstone_encoders.copy_descriptor import read_descriptor

Transform = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class LoadedTower(ABC):
    """What turns images into features, in evaluation mode, with what goes before it. Treat it as shared: copy before
    training."""

    preprocess: Transform
    """Evaluation: PIL RGB -> float tensor (3, size, size)."""
    device: torch.device
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    @abstractmethod
    def visual(self) -> nn.Module:
        """(batch, 3, size, size) -> (batch, dimension)."""


@dataclass(frozen=True)
class LoadedEncoder(LoadedTower):
    """A CLIP model."""

    model: open_clip.CLIP | open_clip.CustomTextCLIP
    tokenize: Callable[[list[str]], torch.Tensor]

    @property
    def visual(self) -> nn.Module:
        tower: nn.Module = self.model.visual
        return tower


@dataclass(frozen=True)
class LoadedBackbone(LoadedTower):
    """A timm model without its classifier, or a copy descriptor: pooled features."""

    network: nn.Module

    @property
    def visual(self) -> nn.Module:
        return self.network


class NoTextTower(Invalid):
    code = "no_text_tower"
    title = "No text tower"


def pick_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def load_encoder(ref: ModelRef, library: Library, device: torch.device) -> LoadedEncoder:
    """Raises Invalid when the place is missing, the digest disagrees or open_clip does not know the model."""
    name, pretrained = _open_clip_name(ref, library)
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained, device=device)
        tokenize = open_clip.get_tokenizer(name)
    except (RuntimeError, OSError, KeyError) as error:
        raise Invalid(f"open_clip cannot load {ref.model}: {error}", code="encoder_unloadable") from error
    model.eval().requires_grad_(False)
    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"]
    return LoadedEncoder(
        model=model,
        preprocess=preprocess,
        tokenize=tokenize,
        device=device,
        image_size=size[0] if isinstance(size, tuple | list) else size,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def load_backbone(ref: ModelRef, library: Library, device: torch.device) -> LoadedBackbone:
    """Raises Invalid when the place is missing, the digest disagrees or timm does not know the model."""
    try:
        network = timm.create_model(_timm_name(ref, library), pretrained=True, num_classes=0)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise Invalid(f"timm cannot load {ref.model}: {error}", code="encoder_unloadable") from error
    network.to(device).eval().requires_grad_(False)
    config = timm.data.resolve_model_data_config(network)
    return LoadedBackbone(
        network=network,
        preprocess=timm.data.create_transform(**config),
        device=device,
        image_size=config["input_size"][-1],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def load_copy_descriptor(ref: ModelRef, library: Library, device: torch.device) -> LoadedBackbone:
    """Raises Invalid when the place is missing, the digest disagrees or holds no converted descriptor."""
    if not ref.model.startswith("library:"):
        raise Invalid(f"{ref.model}: a copy descriptor lies in the library, converted", code="encoder_unloadable")
    network, settings = read_descriptor(_verified(ref, library))
    return LoadedBackbone(
        network=network.to(device).eval().requires_grad_(False),
        preprocess=settings.transform(),
        device=device,
        image_size=settings.image_size,
        mean=settings.mean,
        std=settings.std,
    )


LOADERS: Mapping[EncoderKind, Callable[[ModelRef, Library, torch.device], LoadedTower]] = {
    "clip": load_encoder,
    "timm": load_backbone,
    "copy_descriptor": load_copy_descriptor,
}


def _timm_name(ref: ModelRef, library: Library) -> str:
    if ref.model.startswith("library:"):
        return f"local-dir:{_verified(ref, library)}"
    return f"hf-hub:{ref.model.removeprefix('hub:')}"


def _verified(ref: ModelRef, library: Library) -> Path:
    if ref.digest is None:
        raise Invalid(f"{ref.model} has no digest", code="digest_missing")
    return library.verified_folder(ref.model, ref.digest)


def _open_clip_name(ref: ModelRef, library: Library) -> tuple[str, str | None]:
    """`library:models/x` -> local-dir; `hub:ViT-B-16@laion2b_s34b_b88k` -> architecture and pretrained tag."""
    if ref.model.startswith("library:"):
        return f"local-dir:{_verified(ref, library)}", None
    name, _, tag = ref.model.removeprefix("hub:").partition("@")
    return (name, tag) if tag else (f"hf-hub:{name}", None)


def token_embedding(model: open_clip.CLIP | open_clip.CustomTextCLIP) -> torch.nn.Embedding:
    """What turns tokens into vectors in the text tower: open_clip's own, one kept apart, or a Hugging Face model."""
    text = getattr(model, "text", model)
    found: torch.nn.Embedding
    found = text.token_embedding if hasattr(text, "token_embedding") else text.transformer.get_input_embeddings()
    return found


class EncoderCache:
    """Loads each encoder once per process."""

    def __init__(self, library: Library, device: torch.device) -> None:
        self._library, self._device = library, device
        self._loaded: dict[ModelRef, LoadedTower] = {}
        self.use = CacheUse()

    def tower(self, ref: ModelRef) -> LoadedTower:
        """Whichever kind it is."""
        self.use.count(ref in self._loaded)
        if ref not in self._loaded:
            with phase("load"):
                self._loaded[ref] = LOADERS[ref.kind](ref, self._library, self._device)
        return self._loaded[ref]

    def get(self, ref: ModelRef) -> LoadedEncoder:
        return with_text(self.tower(ref))

    def clear(self) -> None:
        """Forgets what was loaded; the next use loads it again."""
        self._loaded.clear()


def with_text(tower: LoadedTower) -> LoadedEncoder:
    """Raises NoTextTower."""
    if not isinstance(tower, LoadedEncoder):
        raise NoTextTower("an image backbone embeds no texts: name a CLIP encoder")
    return tower
