"""One experiment with every later method at once, from its spec to its verdict, twice with the same results."""

from pathlib import Path
from typing import Any

import pytest
from support.specs import DictLookup, spec
from support.tiny_images import SHAPES, target_rows, tiny_target, tiny_upstream, write_source
from support.tiny_models import tiny_encoder
from support.tiny_pipeline import tiny_generator
from support.whole_plan import Workers, workers_on
from touchstone_contracts.catalogue import ClassLabel, Dataset
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CURATE_IMAGES,
    EVALUATE_ENCODER,
    JUDGE_EXPERIMENT,
    TUNE_GENERATOR,
    AnyContract,
)
from touchstone_planning.dag import Plan
from touchstone_planning.fairness import check_fair
from touchstone_planning.limits import check_size
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve

pytestmark = pytest.mark.usefixtures("one_thread")
GROUND = (225, 225, 235)
SAMPLER = {"steps": 2, "batch_size": 4}
ARMS: list[dict[str, Any]] = [
    {"kind": "none"},
    {"kind": "target_train"},
    {"kind": "given", "name": "brought", "datasets": ["by-hand"]},
    {
        "kind": "retrieval",
        "name": "retrieved",
        "strategy": {"kind": "union", "semantic": {"results_per_query": 4}},
        "names": "most_frequent",
    },
    {
        "kind": "generation",
        "name": "synthetic",
        "generator": "tiny-diffusion",
        "images": 16,
        "sampler": SAMPLER,
        "names": "most_frequent",
        "tune": {
            "images": {"kind": "target_train"},
            "images_per_class": 2,
            "per": "class",
            "lora": {"rank": 2, "steps": 2, "batch_size": 2},
        },
    },
    {
        "kind": "mixture",
        "name": "both",
        "mode": "additive",
        "parts": [
            {"arm": "target_train", "amount": {"kind": "count", "images": 4}, "loss_weight": 2.0},
            {"arm": "retrieved", "amount": {"kind": "share", "share": 1.0}},
        ],
    },
]
STUDY: dict[str, Any] = {
    "upstream": "tiny",
    "encoder": "tiny-clip",
    "targets": ["shapes"],
    "arms": ARMS,
    "sizes": [8],
    "seeds": [0, 1],
    "curation": {"filter": {"kind": "keep_all"}, "near_duplicate_cosine": None, "leak_cosine": None},
    "recipe": {
        "kind": "two_stage",
        "epochs": 1,
        "batch_size": 4,
        "learning_rates": [1e-3],
        "head": {"images": 4, "epochs": 2, "batch_size": 4},
    },
    "evaluation": {"metrics": ["zero_shot"]},
    "comparison": {"a": "both", "b": "synthetic"},
    "zero_shot_names": "most_frequent",
}


def planned(library: Path) -> Plan:
    """Classes are registered under names that no caption holds, and the shapes as their aliases."""
    target = tiny_target(library, train=True)
    names = zip(("disc", "quadrangle", "trigon", "rod"), SHAPES, strict=True)
    classes = tuple(ClassLabel(id=i, display_name=name, aliases=(shape,)) for i, (name, shape) in enumerate(names))
    images = write_source(library, "by-hand", target_rows(3, GROUND, 9))
    lookup = DictLookup()
    lookup.targets = {"shapes": target.model_copy(update={"classes": classes})}
    lookup.datasets = {"by-hand": Dataset(name="by-hand", target="shapes", images=images)}
    lookup.upstreams = {"tiny": tiny_upstream(library)}
    lookup.encoders = {"tiny-clip": tiny_encoder(library, trained_on="tiny")}
    lookup.generators = {"tiny-diffusion": tiny_generator(library, trained_on="tiny")}
    resolved = resolve(spec(**STUDY), lookup)
    check_fair(resolved)
    check_size(resolved, 1000)
    return plan_experiment(resolved)


def results(plan: Plan, workers: Workers, contract: AnyContract) -> list[Any]:
    return [workers.artifacts.result(contract, step.id) for step in plan.steps if step.kind == contract.name]


def test_every_method_runs_to_a_verdict_and_the_same_plan_again_to_the_same_bytes(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    found = []
    for number in range(2):
        with workers_on(tmp_path, tmp_path / f"index-{number}", generates=True) as workers:
            workers.carry_out(plan)
            trained = results(plan, workers, ADAPT_ENCODER)
            curated = {arm: workers.artifacts.result(CURATE_IMAGES, step) for (_, arm), step in plan.curations.items()}
            judged = results(plan, workers, JUDGE_EXPERIMENT)
            evaluated = results(plan, workers, EVALUATE_ENCODER)
            tuned = results(plan, workers, TUNE_GENERATOR)
        found.append((trained, curated, judged, evaluated, tuned))
    assert found[0] == found[1]
    assert len(trained) == 5 * 2
    assert all(run.weights is not None and len(run.first_stage) == 1 and len(run.epochs) == 2 for run in trained)
    assert {arm: pool.counts.kept for arm, pool in curated.items()} | {"retrieved": 0, "both": 0} == {
        "target_train": 16, "brought": 12, "retrieved": 0, "synthetic": 16, "both": 0,
    }  # fmt: skip
    assert curated["both"].counts.kept == 16 + curated["retrieved"].counts.kept
    assert len(tuned) == len(SHAPES)
    assert len({each.weights for each in tuned}) == len(SHAPES)
    assert judged[-1].verdict is not None
    assert judged[-1].problem is None
