"""Loading text-to-image pipelines by reference through diffusers: safetensors only, once per process."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline
from touchstone_contracts.families import FAMILIES, Family, pipelines
from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.steps import ModelRef
from touchstone_contracts.values import Digest
from touchstone_runtime.caches import ByteCache, CacheUse
from touchstone_runtime.library import Library
from touchstone_runtime.models import find_model
from touchstone_runtime.phases import phase
from touchstone_runtime.settings import MODELS_BYTES

from touchstone_generator.execution import PLAIN, Execution
from touchstone_generator.tuning.weights import add_lora

MODULES = {"diffusers", "transformers"}
"""Where the classes of a pipeline's parts may come from."""
CHECKED = {"safety_checker", "feature_extractor"}
"""Parts that are left out of pipelines that have a safety checker: it blackens images."""
WITH_SAFETY_CHECKER = {"StableDiffusionPipeline", "LatentConsistencyModelPipeline"}


@dataclass(frozen=True)
class LoadedGenerator:
    pipeline: Any
    """A diffusers pipeline of one of the families; its scheduler is replaced by each request's."""
    scheduler_config: Mapping[str, Any]
    """As the pipeline came."""
    digest: Digest
    """Of the folder it was loaded from."""
    tuning_digest: str = ""
    """Of the LoRA weights that were added, if any."""
    own_scheduler: type | None = None
    """The class of the scheduler that the pipeline came with."""
    execution: Execution = PLAIN

    @property
    def family(self) -> Family:
        return pipelines()[type(self.pipeline).__name__]


def pick_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def load_generator(
    ref: ModelRef, library: Library, device: torch.device, execution: Execution = PLAIN
) -> LoadedGenerator:
    """On the device, unless it is offloaded. Raises as `read_generator`."""
    loaded = read_generator(ref, library, device, execution)
    execution.apply(loaded.pipeline, device)
    return loaded


def read_generator(ref: ModelRef, library: Library, device: torch.device, execution: Execution) -> LoadedGenerator:
    """On the CPU, in the precision that `device` wants. Raises Invalid when the location is missing, the digest
    disagrees, weights are not safetensors or the folder is no pipeline of a known family, or of another than is
    registered."""
    try:
        folder, digest = find_model(ref, library, _download)
        family = _known_family(ref, folder)
        auto_pipeline = _auto_pipeline(family)
        pipeline = auto_pipeline.from_pretrained(
            folder,
            trust_remote_code=False,
            dtype=execution.dtype(device, family.half),
            use_safetensors=True,
            local_files_only=True,
            **(dict.fromkeys(CHECKED) | {"requires_safety_checker": False} if _has_safety_checker(family) else {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise Invalid(f"diffusers cannot load {ref.model}: {error}", code="generator_unloadable") from error
    pipeline.set_progress_bar_config(disable=True)
    for tokenizer in tokenizers(pipeline):
        tokenizer.split_special_tokens = True  # "<|endoftext|>" in a prompt is text, and does not end it
    if not family.prompts:
        # The pipeline itself forgets labels that several classes share.
        pipeline.register_to_config(id2label=_index(folder).get("id2label") or {})
    if "unet" in pipeline.components:
        for network in (pipeline.unet, pipeline.vae):
            network.to(memory_format=torch.channels_last)  # a quarter more images per CPU second than the default
    scheduler = pipeline.scheduler
    return LoadedGenerator(pipeline, dict(scheduler.config), digest, own_scheduler=type(scheduler), execution=execution)


def tokenizers(pipeline: Any) -> list[Any]:
    """Of its text encoders, in diffusers' order; none of a class-conditional pipeline."""
    named = (pipeline.components.get(name) for name in ("tokenizer", "tokenizer_2", "tokenizer_3"))
    return [tokenizer for tokenizer in named if tokenizer is not None]


def _auto_pipeline(family: Family) -> Any:
    # diffusers' auto pipelines are for prompts; a class-conditional one is loaded by the class its folder names.
    return AutoPipelineForText2Image if family.prompts else DiffusionPipeline


def _has_safety_checker(family: Family) -> bool:
    return family.pipeline in WITH_SAFETY_CHECKER


def _download(repository: str, commit: str) -> str:
    folder: str = DiffusionPipeline.download(
        repository,
        revision=commit,
        trust_remote_code=False,
        use_safetensors=True,
        **dict.fromkeys(CHECKED),
    )
    return folder


def _known_family(ref: ModelRef, folder: Path) -> Family:
    # Read first: diffusers loads another family's folder with a warning and whatever parts it recognises.
    index = _index(folder)
    found = index.get("_class_name")
    family = pipelines().get(str(found))
    if family is None:
        known = in_words(sorted(pipelines()), "or")
        raise Invalid(f"{ref.model} is a {found}, not a {known}", code="pipeline_unsupported")
    if ref.family is not None and FAMILIES[ref.family].pipeline != found:
        wanted = FAMILIES[ref.family].pipeline
        detail = f"{ref.model} is registered as {ref.family}, a {wanted}, and is a {found}: register its own family"
        raise Invalid(detail, code="family_mismatch")
    left_out = CHECKED if _has_safety_checker(family) else set()
    for name, part in index.items():
        # diffusers imports the module that a part names.
        module = part[0] if isinstance(part, list) and part else None
        if module is not None and name not in left_out and module not in MODULES:
            detail = f"{ref.model} takes its {name} from {module!r}, not from {in_words(sorted(MODULES), 'or')}"
            raise Invalid(detail, code="pipeline_unsupported")
    return family


def _index(folder: Path) -> dict[str, Any]:
    index = json.loads((folder / "model_index.json").read_text())
    return index if isinstance(index, dict) else {}


def pipeline_bytes(generator: LoadedGenerator) -> int:
    """Of the parameters and buffers of all its networks."""
    networks = (part for part in generator.pipeline.components.values() if isinstance(part, torch.nn.Module))
    return sum(tensor.nbytes for network in networks for tensor in (*network.parameters(), *network.buffers()))


def require_scheduler(generator: LoadedGenerator, scheduler: str) -> None:
    """Raises Invalid where the family cannot sample with it."""
    known = generator.family.schedulers
    if scheduler not in known:
        able = in_words(sorted(known), "or")
        detail = f"a {generator.family.pipeline} cannot sample with {scheduler}; it can with {able}"
        raise Invalid(detail, code="scheduler_unsuitable")


def require_tunable(generator: LoadedGenerator) -> None:
    """Raises Invalid where the family cannot be tuned here."""
    if not generator.family.tunes:
        raise Invalid(f"a {generator.family.pipeline} cannot be tuned here", code="tuning_unsupported")


class GeneratorCache:
    """Loads each generator once per process while all together fit into `budget` bytes; the one used longest ago goes.
    A tuned one is a copy of its own, and only the last of them is held: with an adapter for each class there are as
    many."""

    def __init__(
        self, library: Library, device: torch.device, budget: int = MODELS_BYTES, execution: Execution = PLAIN
    ) -> None:
        self.library, self.device, self.execution = library, device, execution
        self._loaded = ByteCache[tuple[ModelRef, str], LoadedGenerator](budget, pipeline_bytes)
        self._tuned: tuple[ModelRef, str] | None = None

    @property
    def use(self) -> CacheUse:
        return self._loaded.use

    def get(self, ref: ModelRef) -> LoadedGenerator:
        return self._loaded.get_or_make((ref, ""), lambda: self._ready(ref))

    def tuned(self, ref: ModelRef, digest: Digest, weights: Callable[[], bytes]) -> LoadedGenerator:
        """With the LoRA of that digest added; `weights` reads it where it is not loaded yet."""
        found = self._loaded.get((ref, digest))
        if found is None:
            if self._tuned is not None:
                self._loaded.forget(self._tuned)
            loaded = self._ready(ref, weights)
            found, self._tuned = replace(loaded, tuning_digest=digest), (ref, digest)
            self._loaded.put(self._tuned, found)
        return found

    def clear(self) -> None:
        """Forgets what was loaded; the next use loads it again."""
        self._loaded.clear()

    def fresh(self, ref: ModelRef) -> LoadedGenerator:
        """A copy for the caller alone, who may change its weights; without regard to the settings of execution, so that
        tuned weights do not follow from them."""
        with phase("load"):
            return load_generator(ref, self.library, self.device)

    def _ready(self, ref: ModelRef, lora: Callable[[], bytes] | None = None) -> LoadedGenerator:
        with phase("load"):
            loaded = read_generator(ref, self.library, self.device, self.execution)
            if lora is not None:
                add_lora(loaded.pipeline.to(self.device), lora())
            self.execution.apply(loaded.pipeline, self.device)
            return loaded
