"""Loading CLIP encoders by reference through open_clip: a local folder and a hub checkpoint take the same path."""

from collections.abc import Callable
from dataclasses import dataclass

import open_clip
import torch
from PIL import Image
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ModelRef
from touchstone_runtime.library import Library

Transform = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class LoadedEncoder:
    """A CLIP model in evaluation mode with what goes before it. Treat the model as shared: copy before training."""

    model: open_clip.CLIP | open_clip.CustomTextCLIP
    preprocess: Transform
    """Evaluation: PIL RGB -> float tensor (3, size, size)."""
    tokenize: Callable[[list[str]], torch.Tensor]
    device: torch.device
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


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


def _open_clip_name(ref: ModelRef, library: Library) -> tuple[str, str | None]:
    """`library:models/x` -> local-dir; `hub:ViT-B-16@laion2b_s34b_b88k` -> architecture and pretrained tag."""
    if ref.model.startswith("library:"):
        if ref.digest is None:
            raise Invalid(f"{ref.model} has no digest", code="digest_missing")
        return f"local-dir:{library.verified_folder(ref.model, ref.digest)}", None
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
        self._loaded: dict[ModelRef, LoadedEncoder] = {}

    def get(self, ref: ModelRef) -> LoadedEncoder:
        if ref not in self._loaded:
            self._loaded[ref] = load_encoder(ref, self._library, self._device)
        return self._loaded[ref]
