"""Loading text-to-image pipelines by reference through diffusers: safetensors only, once per process."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ModelRef
from touchstone_contracts.values import Digest
from touchstone_runtime.caches import CacheUse
from touchstone_runtime.library import Library
from touchstone_runtime.phases import phase

from touchstone_generator.places import find_model
from touchstone_generator.tuning.weights import add_lora

PIPELINE_CLASS = "StableDiffusionPipeline"


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
            dtype=torch.float16 if device.type == "cuda" else torch.float32,
            use_safetensors=True,  # a folder with pickles only is refused
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Invalid(f"diffusers cannot load {ref.model}: {error}", code="generator_unloadable") from error
    pipeline.set_progress_bar_config(disable=True)
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)  # a quarter more images per CPU second than the default layout
    return LoadedGenerator(pipeline.to(device), dict(pipeline.scheduler.config), digest)


def _download(repository: str, revision: str | None) -> str:
    folder: str = StableDiffusionPipeline.download(
        repository, revision=revision, use_safetensors=True, safety_checker=None, feature_extractor=None
    )
    return folder


def _require_stable_diffusion(ref: ModelRef, folder: Path) -> None:
    # Read first: diffusers loads another family's folder with a warning and whatever parts it recognises.
    index = json.loads((folder / "model_index.json").read_text())
    found = index.get("_class_name") if isinstance(index, dict) else None
    if found != PIPELINE_CLASS:
        raise Invalid(f"{ref.model} is a {found}, not a {PIPELINE_CLASS}", code="pipeline_unsupported")


class GeneratorCache:
    """Loads each generator once per process. A tuned one is a copy of its own, and only the last of them is held: with
    an adapter for each class there are as many."""

    def __init__(self, library: Library, device: torch.device) -> None:
        self.library, self.device = library, device
        self._loaded: dict[tuple[ModelRef, str], LoadedGenerator] = {}
        self.use = CacheUse()

    def get(self, ref: ModelRef) -> LoadedGenerator:
        self.use.count((ref, "") in self._loaded)
        if (ref, "") not in self._loaded:
            self._loaded[ref, ""] = self.fresh(ref)
        return self._loaded[ref, ""]

    def tuned(self, ref: ModelRef, digest: Digest, weights: Callable[[], bytes]) -> LoadedGenerator:
        """With the LoRA of that digest added; `weights` reads it where it is not loaded yet."""
        self.use.count((ref, digest) in self._loaded)
        if (ref, digest) not in self._loaded:
            self._loaded = {key: generator for key, generator in self._loaded.items() if not generator.tuning_digest}
            loaded = self.fresh(ref)
            add_lora(loaded.pipeline, weights())
            self._loaded[ref, digest] = replace(loaded, tuning_digest=digest)
        return self._loaded[ref, digest]

    def clear(self) -> None:
        """Forgets what was loaded; the next use loads it again."""
        self._loaded.clear()

    def fresh(self, ref: ModelRef) -> LoadedGenerator:
        """A copy for the caller alone, who may change its weights."""
        with phase("load"):
            return load_generator(ref, self.library, self.device)
