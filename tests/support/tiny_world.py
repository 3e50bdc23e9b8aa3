"""A whole world in a folder of a few megabytes: shapes, a random encoder, a random generator, their catalogue."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from support.tiny_images import SHAPES, tiny_target, tiny_upstream
from support.tiny_models import tiny_encoder
from support.tiny_pipeline import tiny_generator
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.experiment import ExperimentSpec

UPSTREAM_IMAGES = 48
GENERATED_IMAGES = 24


@dataclass(frozen=True)
class TinyWorld:
    library: Path

    @property
    def catalogue(self) -> Path:
        return self.library / "catalogue.yaml"


def tiny_world(library: Path) -> TinyWorld:
    """Two targets of four shapes, `forms` with a second test set.

    `stranger` is the same generator with another lineage."""
    generator = tiny_generator(library, trained_on="tiny")
    catalogue = Catalogue(
        encoders=(tiny_encoder(library, trained_on="tiny"),),
        generators=(generator, generator.model_copy(update={"name": "stranger", "trained_on": "elsewhere"})),
        upstreams=(tiny_upstream(library, images=UPSTREAM_IMAGES),),
        targets=(tiny_target(library, "shapes"), tiny_target(library, "forms", further_tests=("pale",))),
    )
    world = TinyWorld(library)
    world.catalogue.write_text(yaml.safe_dump(catalogue.model_dump(mode="json"), sort_keys=False))
    return world


def tiny_study(generated: int = GENERATED_IMAGES, **changes: Any) -> dict[str, Any]:
    """One target, arms none / retrieved / synthetic, sizes 4 and 8, two seeds: about thirty steps of a moment each."""
    document: dict[str, Any] = {
        "name": "tiny",
        "upstream": "tiny",
        "encoder": "tiny-clip",
        "targets": ["shapes"],
        "arms": [
            {"kind": "none"},
            {
                "kind": "retrieval",
                "name": "retrieved",
                "strategy": {"kind": "union", "semantic": {"results_per_query": 8}},
            },
            {
                "kind": "generation",
                "name": "synthetic",
                "generator": "tiny-diffusion",
                "images": generated,
                "sampler": {"steps": 4, "batch_size": 4},
            },
        ],
        "sizes": [4, 8],
        "seeds": [0, 1],
        # The random encoder finds all shapes alike: thresholds for real images would keep one of each class.
        "curation": {"filter": {"kind": "keep_all"}, "near_duplicate_cosine": None, "leak_cosine": None},
        "recipe": {"kind": "cross_entropy", "learning_rates": [0.001], "epochs": 2, "batch_size": 4},
        "evaluation": {"linear_probe": {"epochs": 5, "warmup_updates": 2}},
    }
    ExperimentSpec.model_validate(document | changes)
    return document | changes


def expected_cells(document: dict[str, Any]) -> set[tuple[str, str, int, int, str]]:
    """(target, arm, size, seed, metric) of every row the results must hold."""
    trained = [arm["name"] for arm in document["arms"] if arm["kind"] != "none"]
    points = [("none", 0), *((arm, size) for arm in trained for size in document["sizes"])]
    return {
        (target, arm, size, seed, metric)
        for target in document["targets"]
        for arm, size in points
        for seed in document["seeds"]
        for metric in ("zero_shot", "linear_probe")
    }


__all__ = ["SHAPES", "TinyWorld", "expected_cells", "tiny_study", "tiny_world"]
