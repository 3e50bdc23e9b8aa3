"""The pictures a report compares: real ones by class, and generated ones, drawn once and kept."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from touchstone_generator.sampling.conditions import count_truncated

from touchstone_miniverse.evaluation import class_prompts, sample
from touchstone_miniverse.sources import Kind
from touchstone_miniverse.targets import NOT_IN_BROAD
from touchstone_miniverse.upstream import Pairs

BATCH = 64


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn, the same for every target."""

    per_class: int = 8
    steps: int = 16
    guidance: float = 3.0
    seed: int = 0


@dataclass(frozen=True)
class Labelled:
    """Pictures of one target with the class each was asked for or depicts."""

    images: list[Image.Image]
    labels: NDArray[np.int64]


def upstream_of_class(
    pairs: Pairs, target: Mapping[str, Any], per_class: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first `per_class` upstream emoji and flags of each class, in the upstream's own (random) order, and
    their classes.

    A fine class is the name a caption starts with; a broad one the category it ends with.
    """
    names = {entry["display_name"]: entry["id"] for entry in target["classes"]}
    rows: dict[int, list[int]] = {label: [] for label in names.values()}
    for row, (caption, kind) in enumerate(zip(pairs.captions, pairs.kinds, strict=True)):
        name, *rest = caption.split(", ")
        shown = name if target["name"] != "broad" else rest[-1] if rest and name not in NOT_IN_BROAD else ""
        if kind in (Kind.EMOJI, Kind.FLAG) and shown in names and len(rows[names[shown]]) < per_class:
            rows[names[shown]].append(row)
    labels = [label for label, found in rows.items() for _ in found]
    return np.array([row for found in rows.values() for row in found]), np.array(labels)


def draw(
    pipeline: StableDiffusionPipeline, model_digest: str, target: Mapping[str, Any], sampling: Sampling, cache: Path
) -> Labelled:
    """`per_class` pictures of each class from the target's synthesis templates in turn; taken from `cache` if there."""
    asked = class_prompts(target, sampling.per_class)
    images = draw_prompts(pipeline, model_digest, [prompt for _, prompt in asked], sampling, cache, target["name"])
    return Labelled(images, np.array([label for label, _ in asked]))


def draw_prompts(
    pipeline: StableDiffusionPipeline, model_digest: str, prompts: Sequence[str], sampling: Sampling, cache: Path,
    name: str,
) -> list[Image.Image]:  # fmt: skip
    """A picture for each prompt, kept in `cache` under everything that decides it."""
    facts = json.dumps([model_digest, asdict(sampling), list(prompts)])
    kept = cache / f"{name}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npy"
    if not kept.exists():
        print(f"{name}: {count_truncated(pipeline, prompts)} of {len(prompts)} prompts lose words to the text encoder")
        drawn: list[Image.Image] = []
        for start in track(range(0, len(prompts), BATCH), f"draw {name}", transient=True):
            drawn += sample(
                pipeline, prompts[start : start + BATCH], sampling.steps, sampling.guidance, sampling.seed + start
            )
        cache.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.stack([np.asarray(image) for image in drawn]), allow_pickle=False)
    return [Image.fromarray(pixels) for pixels in np.load(kept, allow_pickle=False)]


def flat_pixels(images: Iterable[Image.Image], side: int = 32) -> NDArray[np.float32]:
    """(n, side * side * 3) in steps of 255."""
    small = [image.convert("RGB").resize((side, side), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image, np.float32).ravel() for image in small])
