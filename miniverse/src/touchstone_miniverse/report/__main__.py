"""`make miniverse-report`: a table, .touchstone/miniverse-report.json and contact sheets beside it.

Recognised: zero-shot accuracy over all classes of a target, by an encoder that had no part in the generator.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from touchstone_runtime.digests import folder_digest

from touchstone_miniverse.disjointness import WITHIN, nearest_bits, perceptual_hashes
from touchstone_miniverse.evaluation import (
    Judge,
    class_embeddings,
    embed,
    load_judge,
    load_pipeline,
    read_targets,
    zero_shot,
)
from touchstone_miniverse.report.pictures import (
    Labelled,
    Sampling,
    draw,
    draw_prompts,
    flat_pixels,
    upstream_of_class,
)
from touchstone_miniverse.report.sheets import by_prompt, real_and_generated
from touchstone_miniverse.report.statistics import (
    Features,
    frechet_against_floor,
    mean_pairwise_distance,
    nearest_cosine_distances,
    nearest_pixel_distances,
    nearness,
)
from touchstone_miniverse.report.table import print_report
from touchstone_miniverse.upstream import Pairs, read_split, read_upstream

# Nobody tuned to these: they are in no watched grid and chosen before the first long run.
TEN_PROMPTS = (
    "flag of canada", "slice of pizza", "cow face", "airplane", "red heart", "octopus", "police car", "banana",
    "crying face", "sunflower",
)  # fmt: skip


WIDTH = 120
"""Columns of the table where no terminal says how many there are."""


@dataclass(frozen=True)
class Compared:
    """One target's pictures in the judge's features; the real ones are `rows` of the upstream."""

    rows: NDArray[np.int64]
    real: Labelled
    held_out: Labelled
    generated: Labelled
    features: Mapping[str, Features]


@dataclass(frozen=True)
class Upstream:
    """The whole upstream in the judge's features, as small pixels, as perceptual hashes, and which drawing each is."""

    features: Features
    pixels: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    drawings: NDArray[np.int64]


@dataclass(frozen=True)
class Tools:
    """What every part of the report looks with."""

    judge: Judge
    pipeline: StableDiffusionPipeline
    generator_digest: str
    sampling: Sampling
    pairs: Pairs
    home: Path
    cache: Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `report [--targets flags animals] [--per-class 8] [--judge FOLDER]`."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    tools = Tools(
        load_judge(options.judge), load_pipeline(options.generator), folder_digest(options.generator),
        Sampling(options.per_class, options.steps, options.guidance, options.seed),
        read_upstream(options.home / "data"), options.home, options.out.with_suffix("") / "drawn",
    )  # fmt: skip
    targets = [
        target for target in read_targets(options.home) if not options.targets or target["name"] in options.targets
    ]
    report = build_report(tools, targets, options.out.with_suffix(""))
    report["judge"] = {"folder": options.judge.name, "digest": folder_digest(options.judge)}
    report["encoders"] = {
        folder.name: zero_shot(load_judge(folder), options.home)
        for folder in track(sorted((options.home / "models").glob("mini-clip*")), "encoders", transient=True)
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report, options.out, Console(width=None if sys.stdout.isatty() else WIDTH))


def build_report(tools: Tools, targets: Sequence[Mapping[str, Any]], sheets: Path) -> dict[str, Any]:
    """Every number of the report but the encoders' own, and the contact sheets in `sheets`."""
    upstream = _describe_upstream(tools)
    compared = {target["name"]: _compare(tools, target, upstream) for target in targets}
    sheets.mkdir(parents=True, exist_ok=True)
    for target in targets:
        pictures = compared[target["name"]]
        real_and_generated(target, pictures.real, pictures.generated).save(sheets / f"{target['name']}.png")
    _ten_prompts(tools).save(sheets / "ten-prompts.png")
    rng = np.random.default_rng(tools.sampling.seed)
    # The pictures of `broad` are those of the fine targets again.
    fine = [pictures for name, pictures in compared.items() if name != "broad"] or list(compared.values())
    return {
        "generator": {"digest": tools.generator_digest, "sampler": "ddim", **asdict(tools.sampling)},
        "targets": {target["name"]: _target_row(tools, target, compared[target["name"]]) for target in targets},
        "frechet": frechet_against_floor(_joined(fine, "generated"), _joined(fine, "real"), rng),
        "nearest_neighbour": {target["name"]: _nearest_rows(compared[target["name"]], upstream) for target in targets},
        "disjointness": {
            target["name"]: _disjointness_row(compared[target["name"]].held_out, upstream.hashes) for target in targets
        },
    }


def _describe_upstream(tools: Tools) -> Upstream:
    images = [Image.fromarray(image) for image in tools.pairs.images]
    shown = list(track(tools.pairs.images, "hash upstream", transient=True))
    drawings = np.unique(tools.pairs.drawings, return_inverse=True)[1]
    features = embed(tools.judge, images, "embed upstream")
    return Upstream(features, flat_pixels(images), perceptual_hashes(shown), drawings)


def _compare(tools: Tools, target: Mapping[str, Any], upstream: Upstream) -> Compared:
    rows, classes = upstream_of_class(tools.pairs, target, tools.sampling.per_class)
    pixels, labels = read_split(tools.home / "data", target["name"], "test")
    real = Labelled([Image.fromarray(image) for image in tools.pairs.images[rows]], classes)
    held_out = Labelled([Image.fromarray(image) for image in pixels], labels)
    generated = draw(tools.pipeline, tools.generator_digest, target, tools.sampling, tools.cache)
    features = {
        "real": upstream.features[rows],
        "held_out": embed(tools.judge, held_out.images),
        "generated": embed(tools.judge, generated.images),
    }
    return Compared(rows, real, held_out, generated, features)


def _target_row(tools: Tools, target: Mapping[str, Any], compared: Compared) -> dict[str, Any]:
    classes = class_embeddings(tools.judge, target).numpy()
    right = {
        part: (compared.features[part] @ classes.T).argmax(1) == getattr(compared, part).labels
        for part in ("real", "held_out", "generated")
    }
    real, synthetic = float(right["real"].mean()), float(right["generated"].mean())
    return {
        "classes": len(target["classes"]),
        "real_recognised": real,
        "held_out_recognised": float(right["held_out"].mean()),
        "synthetic_recognised": synthetic,
        "synthetic_standard_error": _clustered_error(right["generated"], compared.generated.labels),
        "ratio": synthetic / real,
        "pictures": {part: len(values) for part, values in right.items()},
        "mean_pairwise_distance": {
            "synthetic": mean_pairwise_distance(compared.features["generated"], compared.generated.labels),
            "real": mean_pairwise_distance(compared.features["real"], compared.real.labels),
        },
    }


def _clustered_error(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """Standard error of a share, classes being the independent unit."""
    by_class = [right[labels == label].mean() for label in np.unique(labels)]
    return float(np.std(by_class, ddof=1) / np.sqrt(len(by_class)))


def _nearest_rows(compared: Compared, upstream: Upstream) -> dict[str, Any]:
    """Generated pictures against real ones, by the judge's cosine and by pixels.

    Held-out pictures are in styles that the upstream lacks, generated ones in the upstream's: so also against the
    upstream's own pictures, each compared with other drawings than itself (`..._own_styles`).
    """
    unlike = (upstream.drawings[compared.rows], upstream.drawings)
    features, everything = compared.features, upstream.features
    cosine = {part: nearest_cosine_distances(features[part], everything) for part in ("generated", "held_out")}
    pixels = {
        part: nearest_pixel_distances(flat_pixels(shown.images), upstream.pixels)
        for part, shown in (("generated", compared.generated), ("held_out", compared.held_out))
    }
    own_cosine = nearest_cosine_distances(features["real"], everything, unlike)
    own_pixels = nearest_pixel_distances(upstream.pixels[compared.rows], upstream.pixels, unlike)
    return {
        "cosine": nearness(cosine["generated"], cosine["held_out"]).row(),
        "pixels": nearness(pixels["generated"], pixels["held_out"]).row(),
        "cosine_own_styles": nearness(cosine["generated"], own_cosine).row(),
        "pixels_own_styles": nearness(pixels["generated"], own_pixels).row(),
    }


def _disjointness_row(held_out: Labelled, hashes: NDArray[np.uint64]) -> dict[str, int]:
    nearest = nearest_bits(perceptual_hashes([np.asarray(image) for image in held_out.images]), hashes)
    within = {f"within_{bits}_bits": int((nearest <= bits).sum()) for bits in WITHIN}
    return {"pictures": len(nearest), **within}


def _ten_prompts(tools: Tools, each: int = 8) -> Image.Image:
    prompts = [prompt for prompt in TEN_PROMPTS for _ in range(each)]
    images = draw_prompts(tools.pipeline, tools.generator_digest, prompts, tools.sampling, tools.cache, "ten-prompts")
    return by_prompt(TEN_PROMPTS, images)


def _joined(compared: Sequence[Compared], part: str) -> Features:
    return np.concatenate([pictures.features[part] for pictures in compared])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    home = Path(__file__).parents[3]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=home)
    parser.add_argument("--generator", type=Path, default=home / "models" / "mini-diffusion")
    parser.add_argument("--judge", type=Path, default=home / "models" / "mini-clip-full")
    parser.add_argument("--targets", nargs="*", help="only these targets")
    parser.add_argument("--per-class", type=int, default=Sampling.per_class)
    parser.add_argument("--steps", type=int, default=Sampling.steps)
    parser.add_argument("--guidance", type=float, default=Sampling.guidance)
    parser.add_argument("--seed", type=int, default=Sampling.seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(".touchstone/miniverse-report.json"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
