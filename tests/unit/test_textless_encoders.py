"""An image backbone may be adapted and probed; what needs text is refused before anything is created."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.memory_services import memory_services
from support.specs import DictLookup, spec
from touchstone_api.submission import submit_upstream
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.catalogue import Encoder
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import AdaptEncoder, CurateImages, EmbedImages, EvaluateEncoder, ModelRef
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_store.catalogue import register

BACKBONE = Encoder(name="dino", model="hub:timm/vit_small_patch14_dinov2.lvd142m@main", kind="timm")
PROBE = {"metrics": ("linear_probe",)}
SCORED = {"score_encoder": "clip"}


def experiment(**changes: object) -> ResolvedExperiment:
    lookup = DictLookup()
    lookup.encoders["dino"] = BACKBONE
    return resolve(spec(encoder="dino", **changes), lookup)


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"curation": SCORED}, ["/evaluation/metrics"]),
        ({"evaluation": PROBE}, ["/curation/score_encoder"]),
        ({"evaluation": PROBE, "curation": SCORED, "recipe": {"kind": "contrastive"}}, ["/recipe/kind"]),
        ({"evaluation": PROBE, "curation": SCORED, "recipe": {"kind": "head_only"}}, ["/recipe/kind"]),
        ({"evaluation": PROBE, "curation": SCORED, "recipe": {"kind": "learned_prompts"}}, ["/recipe/kind"]),
        ({"evaluation": PROBE, "curation": {"score_encoder": "dino"}}, ["/curation/score_encoder"]),
        ({"recipe": {"kind": "head_only"}}, ["/evaluation/metrics", "/recipe/kind", "/curation/score_encoder"]),
    ],
)
def test_what_needs_text_is_refused_with_its_field(changes: dict[str, object], pointers: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        check_fair(experiment(**changes))
    assert caught.value.code == "no_text_tower"
    assert [error.pointer for error in caught.value.errors] == pointers


@pytest.mark.parametrize("kind", ["cross_entropy", "lora"])
def test_a_backbone_is_trained_and_probed_while_a_clip_encoder_scores(kind: str) -> None:
    resolved = experiment(evaluation=PROBE, curation=SCORED, recipe={"kind": kind})
    check_fair(resolved)
    requests = [step.request for step in plan_experiment(resolved).steps]
    kinds = {
        contract: {request.encoder.kind for request in requests if isinstance(request, contract)}
        for contract in (CurateImages, AdaptEncoder, EvaluateEncoder, EmbedImages)
    }
    # Copies of test images are looked for with the experiment's encoder, backbone or not.
    assert kinds == {
        CurateImages: {"clip"},
        AdaptEncoder: {"timm"},
        EvaluateEncoder: {"timm"},
        EmbedImages: {"clip", "timm"},
    }


def test_an_untrained_backbone_needs_no_scores() -> None:
    check_fair(experiment(evaluation=PROBE, arms=(NoTraining(),)))


def test_an_upstream_is_not_searched_with_a_backbone(tmp_path: Path) -> None:
    services, upstream = memory_services(tmp_path), DictLookup().upstreams["world"]
    with services.store.write() as session:
        register(session, BACKBONE, DEFAULT_PROJECT, datetime.now(UTC))
    with pytest.raises(Invalid, match="searched by text"):
        submit_upstream(services, DEFAULT_PROJECT, upstream.model_copy(update={"index_encoder": "dino"}))


def test_the_kind_of_an_encoder_decides_its_steps_and_the_usual_one_is_not_written_down() -> None:
    clip = Encoder(name="x", model="library:x", digest="0" * 64)
    backbone = clip.model_copy(update={"kind": "timm"})
    assert identity(ModelRef.of(clip)) == identity({"model": "library:x", "digest": "0" * 64})
    assert identity(ModelRef.of(clip)) != identity(ModelRef.of(backbone))
