"""A large experiment, planned in a process of its own by today's code or by an earlier release's.

`python -m support.planning_case today` (or `earlier`, with that release's packages first on PYTHONPATH) prints one JSON
document: how many steps and bytes the stored plan has, the CPU seconds that planning took, and the largest memory."""

import json
import sys
import time
from collections import Counter
from importlib import import_module
from typing import Any

from support.judging_case import peak_mb
from touchstone_contracts.catalogue import (
    ClassLabel,
    Encoder,
    Generator,
    ParquetFile,
    Splits,
    Target,
    Templates,
    Upstream,
)
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import sha256

CLASSES, TEMPLATES = 1000, ("a photo of a {name}", "a drawing of a {name}", "a {name}")
SPEC = ExperimentSpec.model_validate(
    {
        "name": "a thousand classes",
        "upstream": "world",
        "encoder": "clip",
        "targets": ["broad"],
        "arms": [
            {"kind": "retrieval", "name": "real"},
            {"kind": "generation", "name": "made", "generator": "diffusion", "images": 1000},
        ],
        "sizes": [50, 100, 150, 200, 250, 300],
        "seeds": [0, 1, 2, 3, 4],
        "curation": {"filter": {"kind": "keep_all"}},
        "recipe": {"kind": "cross_entropy", "learning_rates": [1e-5, 2e-5, 3e-5, 4e-5, 5e-5]},
    }
)


def source(name: str, images: int) -> ParquetFile:
    return ParquetFile(location=f"library:{name}.parquet", digest=sha256(name.encode()), images=images)


class Names:
    """What the spec's names stand for."""

    def upstream(self, name: str) -> Upstream:
        return Upstream(name=name, shards=(source("shard", 10_000),), index_encoder="clip")

    def encoder(self, name: str) -> Encoder:
        return Encoder(name=name, model="library:clip", digest=sha256(b"clip"), trained_on="world")

    def generator(self, name: str) -> Generator:
        return Generator(name=name, model="library:sd", digest=sha256(b"sd"), trained_on="world")

    def target(self, name: str) -> Target:
        classes = tuple(
            ClassLabel(id=number, display_name=f"thing number {number}", aliases=(f"item {number}",))
            for number in range(CLASSES)
        )
        templates = Templates(retrieval=TEMPLATES, filter=TEMPLATES, zero_shot=TEMPLATES, synthesis=TEMPLATES)
        splits = Splits(validation=source("validation", 5000), test=source("test", 5000))
        return Target(name=name, classes=classes, templates=templates, splits=splits)


def main(release: str) -> None:
    plan = today if release == "today" else earlier
    before = time.process_time()
    kinds, stored = plan()
    found = {
        "cpu_s": time.process_time() - before,
        "peak_mb": peak_mb(),
        "result": {"kinds": kinds, "stored_bytes": sum(map(len, stored))},
    }
    sys.stdout.write(json.dumps(found))


def today() -> tuple[dict[str, int], list[bytes]]:
    """All that posting makes and stores: the steps' requests, the facts they name and the layout."""
    planning, resolve = import_module("touchstone_planning.plan"), import_module("touchstone_planning.resolve").resolve
    resolved = resolve(SPEC, Names())
    plan = planning.plan_experiment(resolved)
    layout = planning.stored_plan(plan)
    identity = import_module("touchstone_contracts.identity").identity
    assert identity({"experiment": resolved, "versions": layout.versions})
    stored = [json.dumps(step.stored).encode() for step in plan.steps]
    return kinds_of(plan), [*stored, *plan.facts.blobs.values(), layout.model_dump_json().encode()]


def earlier() -> tuple[dict[str, int], list[bytes]]:
    """Before requests named facts."""
    rooms = "touchstone_api.experiments"
    resolved = import_module(f"{rooms}.resolve").resolve(SPEC, Names())
    plan = import_module(f"{rooms}.plan").plan_experiment(resolved)
    assert import_module("touchstone_contracts.identity").identity(resolved)
    return kinds_of(plan), [json.dumps(step.request.model_dump(mode="json")).encode() for step in plan.steps]


def kinds_of(plan: Any) -> dict[str, int]:
    return dict(Counter(step.kind for step in plan.steps))


if __name__ == "__main__":
    main(sys.argv[1])
