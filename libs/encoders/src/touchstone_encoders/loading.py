"""Loading encoders by reference: CLIP through open_clip, image backbones through timm, copy descriptors.

A hub's repository becomes a local folder first, so both take the same path."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import open_clip
import timm
import torch
from PIL import Image
from torch import nn
from touchstone_contracts.catalogue import EncoderKind
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ModelRef
from touchstone_runtime.caches import ByteCache, CacheUse
from touchstone_runtime.library import Library
from touchstone_runtime.models import find_model, snapshot
from touchstone_runtime.phases import phase
from touchstone_runtime.settings import MODELS_BYTES

from touchstone_encoders.copy_descriptor import read_descriptor
from touchstone_encoders.open_clip_folder import tokenizer_settings
from touchstone_encoders.special_tokens import read_as_text

Transform = Callable[[Image.Image], torch.Tensor]

CLIP_FILES = ("open_clip_*.json", "open_clip_*.safetensors", "*token*.json", "vocab.json", "merges.txt", "*.model")
"""Of a hub's repository: what open_clip reads."""
TIMM_FILES = ("config.json", "model.safetensors")


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

    @property
    def whole(self) -> nn.Module:
        """All that was loaded."""
        return self.visual


@dataclass(frozen=True)
class LoadedEncoder(LoadedTower):
    """A CLIP model."""

    model: open_clip.CLIP | open_clip.CustomTextCLIP
    tokenize: Callable[[list[str]], torch.Tensor]

    @property
    def visual(self) -> nn.Module:
        tower: nn.Module = self.model.visual
        return tower

    @property
    def whole(self) -> nn.Module:
        model: nn.Module = self.model
        return model


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
    """Raises Invalid when the location is missing, the digest disagrees, the folder needs more than what lies in it or
    open_clip does not know the model."""
    folder = find_model(ref, library, snapshot(CLIP_FILES)).folder
    name = f"local-dir:{folder}"
    try:
        settings = tokenizer_settings(ref.model, folder)
        model, _, preprocess = open_clip.create_model_and_transforms(name, device=device)
        tokenize = open_clip.get_tokenizer(name, **settings)
        read_as_text(tokenize)
    except (RuntimeError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
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
    """Raises Invalid when the location is missing, the digest disagrees or timm does not know the model."""
    folder = find_model(ref, library, snapshot(TIMM_FILES)).folder
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
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
    """Raises Invalid when the location is missing, the digest disagrees or holds no converted descriptor."""
    if not ref.model.startswith("library:"):
        raise Invalid(f"{ref.model}: a copy descriptor lies in the library, converted", code="encoder_unloadable")
    network, settings = read_descriptor(find_model(ref, library, snapshot(())).folder)
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


def token_embedding(model: open_clip.CLIP | open_clip.CustomTextCLIP) -> torch.nn.Embedding:
    """What turns tokens into vectors in the text tower: open_clip's own, one kept apart, or a Hugging Face model."""
    text = getattr(model, "text", model)
    found: torch.nn.Embedding
    found = text.token_embedding if hasattr(text, "token_embedding") else text.transformer.get_input_embeddings()
    return found


class EncoderCache:
    """Loads each encoder once per process while all together fit into `budget` bytes; the one used longest ago goes."""

    def __init__(self, library: Library, device: torch.device, budget: int = MODELS_BYTES) -> None:
        self._library, self._device = library, device
        self._loaded = ByteCache[ModelRef, LoadedTower](budget, lambda tower: module_bytes(tower.whole))

    @property
    def use(self) -> CacheUse:
        return self._loaded.use

    def tower(self, ref: ModelRef) -> LoadedTower:
        """Whichever kind it is."""
        return self._loaded.get_or_make(ref, lambda: self._load(ref))

    @phase("load")
    def _load(self, ref: ModelRef) -> LoadedTower:
        return LOADERS[ref.kind](ref, self._library, self._device)

    def get(self, ref: ModelRef) -> LoadedEncoder:
        return with_text(self.tower(ref))

    def clear(self) -> None:
        """Forgets what was loaded; the next use loads it again."""
        self._loaded.clear()


def module_bytes(module: nn.Module) -> int:
    """Of its parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def with_text(tower: LoadedTower) -> LoadedEncoder:
    """Raises NoTextTower."""
    if not isinstance(tower, LoadedEncoder):
        raise NoTextTower("an image backbone embeds no texts: name a CLIP encoder")
    return tower
