"""Names that a step chose: the same as if the target had been registered with them, in queries, prompts and head."""

from pathlib import Path
from typing import Any

import pytest
from support.generator_worker import GeneratorWorker, store_result
from support.specs import DictLookup, spec
from support.tiny_images import SHAPES, tiny_target, tiny_upstream
from support.tiny_models import tiny_encoder
from support.whole_plan import Workers, workers_on
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval, Semantic
from touchstone_contracts.catalogue import ClassLabel, Target
from touchstone_contracts.identity import sha256
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    EVALUATE_ENCODER,
    NAME_CLASSES,
    WRITE_PROMPTS,
    ClassesNamed,
    WritePrompts,
)
from touchstone_planning.dag import Plan
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve

UNUSUAL = ("disc", "quadrangle", "trigon", "rod")


def carried_out(library: Path, workers: Workers, target: Target, names: Any) -> Plan:
    lookup = DictLookup()
    lookup.targets = {"shapes": target}
    lookup.upstreams = {"tiny": tiny_upstream(library)}
    lookup.encoders = {"tiny-clip": tiny_encoder(library, trained_on="tiny")}
    retrieval = Retrieval(name="real", strategy=Semantic(results_per_query=6), names=names)
    fields: dict[str, Any] = {
        "upstream": "tiny",
        "encoder": "tiny-clip",
        "targets": ("shapes",),
        "arms": (NoTraining(), retrieval),
        "sizes": (8,),
        "seeds": (0,),
        "curation": {"filter": {"kind": "keep_all"}, "near_duplicate_cosine": None, "leak_cosine": None},
        "recipe": CrossEntropy(epochs=1, batch_size=4, learning_rates=(1e-3,)),
        "evaluation": {"metrics": ["zero_shot"]},
        "zero_shot_names": names,
    }
    plan = plan_experiment(resolve(spec(**fields), lookup))
    workers.carry_out(plan)
    return plan


def results(plan: Plan, workers: Workers, kind: str) -> list[dict[str, Any]]:
    manifests = [workers.artifacts.manifest(step.id) for step in plan.steps if step.kind == kind]
    return [manifest.result for manifest in manifests if manifest is not None]


def test_chosen_names_do_what_the_same_names_do_when_they_are_registered(tmp_path: Path) -> None:
    target = tiny_target(tmp_path)
    unusual = target.model_copy(
        update={
            "classes": tuple(
                ClassLabel(id=number, display_name=name, aliases=(shape,))
                for number, (name, shape) in enumerate(zip(UNUSUAL, SHAPES, strict=True))
            )
        }
    )
    with workers_on(tmp_path, tmp_path / "index") as workers:
        renamed = carried_out(tmp_path, workers, unusual, "most_frequent")
        registered = carried_out(tmp_path, workers, target, "given")
        unchanged = carried_out(tmp_path, workers, unusual, "given")
        (named,) = results(renamed, workers, NAME_CLASSES.name)
        assert named["names"] == list(SHAPES)
        assert named["captions"][0] == {"disc": 0, "circle": 12}
        for kind in (ADAPT_ENCODER.name, EVALUATE_ENCODER.name):
            as_chosen, as_registered, as_unusual = (
                results(plan, workers, kind) for plan in (renamed, registered, unchanged)
            )
            assert len(as_chosen) >= 1
            assert as_chosen == as_registered
            assert as_chosen != as_unusual


@pytest.mark.parametrize("asked", [True, False])
def test_prompts_call_a_class_by_the_chosen_name(worker: GeneratorWorker, asked: bool) -> None:
    classes = (ClassLabel(id=0, display_name="disc", aliases=("circle",)), ClassLabel(id=1, display_name="bar"))
    step = sha256(b"names")
    store_result(worker.artifacts, step, NAME_CLASSES.name, ClassesNamed(names=("circle", "bar"), captions=({}, {})))
    request = WritePrompts(
        classes=classes, templates=("icon of a {name}",), images_per_class=1, names=step if asked else None
    )
    _, written = worker.run(WRITE_PROMPTS, request)
    prompts = worker.artifacts.get_table(written.prompts)["prompt"].to_pylist()
    assert prompts == [f"icon of a {'circle' if asked else 'disc'}", "icon of a bar"]
