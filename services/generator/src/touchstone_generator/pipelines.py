"""Loading text-to-image pipelines by reference through diffusers: safetensors only, once per process."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.steps import ModelRef
from touchstone_contracts.values import Digest
from touchstone_runtime.caches import ByteCache, CacheUse
from touchstone_runtime.library import Library
from touchstone_runtime.models import find_model
from touchstone_runtime.phases import phase
from touchstone_runtime.settings import MODELS_BYTES

from touchstone_generator.tuning.weights import add_lora

PIPELINE_CLASS = "StableDiffusionPipeline"
MODULES = {"diffusers", "transformers"}
"""Where the classes of a pipeline's parts may come from."""
PARTS_LEFT_OUT = {"safety_checker", "feature_extractor"}


@dataclass(frozen=True)
class LoadedGenerator:
    pipeline: Any
    """A StableDiffusionPipeline; its scheduler is replaced by each request's."""
    scheduler_config: Mapping[str, Any]
    """As the pipeline came."""
    digest: Digest
    """Of the folder it was loaded from."""
    tuning_digest: str = ""
    """Of the LoRA weights that were added, if any."""


def pick_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def load_generator(ref: ModelRef, library: Library, device: torch.device) -> LoadedGenerator:
    """Raises Invalid when the place is missing, the digest disagrees, weights are not safetensors or the folder is no
    Stable Diffusion pipeline."""
    try:
        folder, digest = find_model(ref, library, _download)
        _require_stable_diffusion(ref, folder)
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            trust_remote_code=False,
            dtype=torch.float16 if device.type == "cuda" else torch.float32,
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Invalid(f"diffusers cannot load {ref.model}: {error}", code="generator_unloadable") from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.tokenizer.split_special_tokens = True  # "<|endoftext|>" in a prompt is text, and does not end it
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)  # a quarter more images per CPU second than the default layout
    return LoadedGenerator(pipeline.to(device), dict(pipeline.scheduler.config), digest)


def _download(repository: str, commit: str) -> str:
    folder: str = StableDiffusionPipeline.download(
        repository,
        revision=commit,
        trust_remote_code=False,
        use_safetensors=True,
        safety_checker=None,
        feature_extractor=None,
    )
    return folder


def _require_stable_diffusion(ref: ModelRef, folder: Path) -> None:
    # Read first: diffusers loads another family's folder with a warning and whatever parts it recognises.
    index = json.loads((folder / "model_index.json").read_text())
    found = index.get("_class_name") if isinstance(index, dict) else None
    if found != PIPELINE_CLASS:
        raise Invalid(f"{ref.model} is a {found}, not a {PIPELINE_CLASS}", code="pipeline_unsupported")
    for name, part in index.items():
        # diffusers imports the module that a part names.
        module = part[0] if isinstance(part, list) and part else None
        if module is not None and name not in PARTS_LEFT_OUT and module not in MODULES:
            detail = f"{ref.model} takes its {name} from {module!r}, not from {in_words(sorted(MODULES), 'or')}"
            raise Invalid(detail, code="pipeline_unsupported")


def pipeline_bytes(generator: LoadedGenerator) -> int:
    """Of the parameters and buffers of all its networks."""
    networks = (part for part in generator.pipeline.components.values() if isinstance(part, torch.nn.Module))
    return sum(tensor.nbytes for network in networks for tensor in (*network.parameters(), *network.buffers()))


class GeneratorCache:
    """Loads each generator once per process while all together fit into `budget` bytes; the one used longest ago goes.
    A tuned one is a copy of its own, and only the last of them is held: with an adapter for each class there are as
    many."""

    def __init__(self, library: Library, device: torch.device, budget: int = MODELS_BYTES) -> None:
        self.library, self.device = library, device
        self._loaded = ByteCache[tuple[ModelRef, str], LoadedGenerator](budget, pipeline_bytes)
        self._tuned: tuple[ModelRef, str] | None = None

    @property
    def use(self) -> CacheUse:
        return self._loaded.use

    def get(self, ref: ModelRef) -> LoadedGenerator:
        return self._loaded.get_or_make((ref, ""), lambda: self.fresh(ref))

    def tuned(self, ref: ModelRef, digest: Digest, weights: Callable[[], bytes]) -> LoadedGenerator:
        """With the LoRA of that digest added; `weights` reads it where it is not loaded yet."""
        found = self._loaded.get((ref, digest))
        if found is None:
            if self._tuned is not None:
                self._loaded.forget(self._tuned)
            loaded = self.fresh(ref)
            add_lora(loaded.pipeline, weights())
            found, self._tuned = replace(loaded, tuning_digest=digest), (ref, digest)
            self._loaded.put(self._tuned, found)
        return found

    def clear(self) -> None:
        """Forgets what was loaded; the next use loads it again."""
        self._loaded.clear()

    def fresh(self, ref: ModelRef) -> LoadedGenerator:
        """A copy for the caller alone, who may change its weights."""
        with phase("load"):
            return load_generator(ref, self.library, self.device)
