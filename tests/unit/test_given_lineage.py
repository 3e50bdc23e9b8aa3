"""Where images that were made elsewhere come from: declared with the data set, repeated by the verdict."""

import html
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from rich.console import Console
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import api_client, memory_services, register_everything
from support.specs import DictLookup, spec
from touchstone.tables import print_verdict
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.given import Given
from touchstone_contracts.arms.mixture import Mixture, Part, Share
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import Dataset
from touchstone_contracts.identity import identity, identity_text
from touchstone_contracts.layout import Cell
from touchstone_contracts.steps import GivenImages, JudgeExperiment
from touchstone_contracts.views import Verdict
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve

BROUGHT = Given(name="brought", datasets=("fine-by-hand", "broad-by-hand"))
REAL = Retrieval(name="real")
KEEP_ALL = {"filter": {"kind": "keep_all"}}
SYNTHETIC = {"origin": "synthetic", "made_by": "PixelForge 2"}
UNKNOWN = (
    "brought uses images of fine-by-hand and broad-by-hand, and it is not known whether these are real or synthetic: "
    "the answer is about these images, not about real or synthetic images in general."
)
NO_LINEAGE = (
    "brought uses synthetic images of fine-by-hand and broad-by-hand (made by PixelForge 2). Whether their generator "
    "was trained on world is not known: the comparison with images from world is of these images, not of the generator."
)
OTHER_LINEAGE = (
    "brought uses synthetic images of fine-by-hand and broad-by-hand (made by PixelForge 2). Their generator was "
    "trained on LAION-5B, not on world: the arms draw on different data, which may explain the difference."
)


def declaring(**lineage: str) -> DictLookup:
    lookup = DictLookup()
    lookup.datasets = {
        name: Dataset.model_validate(dataset.model_dump() | lineage) for name, dataset in lookup.datasets.items()
    }
    return lookup


def asked(*arms: Any, **changes: Any) -> Any:
    return spec(arms=arms, sizes=(6,), seeds=(0, 1, 2), curation=KEEP_ALL, **changes)


def truth(cell: Cell, metric: str) -> float:
    return 0.8 if cell.arm == "real" else 0.6


def told_of(services: Services, lookup: DictLookup, *arms: Any) -> Told:
    told = post_experiment(services, asked(*(arms or (REAL, BROUGHT))), lookup=lookup)
    finish_experiment(services, told, truth=truth)
    return told


def warnings_of(api: TestClient, told: Told) -> list[str]:
    warnings: list[str] = api.get(f"/v1/experiments/{told.id}/verdict").json()["warnings"]
    return warnings


@pytest.mark.parametrize(
    ("lineage", "caveat"),
    [
        ({}, UNKNOWN),
        (SYNTHETIC, NO_LINEAGE),
        (SYNTHETIC | {"trained_on": "LAION-5B"}, OTHER_LINEAGE),
    ],
)
def test_given_images_against_retrieval_run_to_a_verdict_with_its_caveat(
    services: Services, api: TestClient, lineage: dict[str, str], caveat: str
) -> None:
    told = told_of(services, declaring(**lineage))
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    assert (verdict["a"], verdict["b"], verdict["answer"]) == ("real", "brought", "a_better")
    assert [warning for warning in verdict["warnings"] if warning.startswith("brought uses")] == [caveat]
    assert html.escape(caveat, quote=False) in html.unescape(api.get(f"/experiments/{told.id}").text)
    console = Console(record=True, width=400)
    print_verdict(console, Verdict.model_validate(verdict))
    assert f"Caveat: {caveat}" in console.export_text()


@pytest.mark.parametrize("lineage", [{"origin": "real"}, SYNTHETIC | {"trained_on": "world"}])
def test_a_lineage_that_is_known_and_the_same_needs_no_caveat(
    services: Services, api: TestClient, lineage: dict[str, str]
) -> None:
    warnings = warnings_of(api, told_of(services, declaring(**lineage)))
    assert not [warning for warning in warnings if warning.startswith("brought uses")]


def test_data_sets_of_different_lineage_have_a_caveat_each(services: Services, api: TestClient) -> None:
    lookup = DictLookup()
    fine = lookup.datasets["fine-by-hand"]
    lookup.datasets["fine-by-hand"] = fine.model_copy(update=SYNTHETIC)
    found = [warning for warning in warnings_of(api, told_of(services, lookup)) if warning.startswith("brought uses")]
    assert len(found) == 2
    assert "synthetic images of fine-by-hand (made by PixelForge 2)" in found[0]
    assert "images of broad-by-hand, and it is not known" in found[1]


def judge_of(lookup: DictLookup, *arms: Any, **changes: Any) -> JudgeExperiment:
    plan = plan_experiment(resolve(asked(*arms, **changes), lookup))
    request = plan.steps[-1].request
    assert isinstance(request, JudgeExperiment)
    return request


def test_what_is_made_from_given_images_has_their_lineage() -> None:
    """The arms compared are a mixture of given images and a perturbation of them; a third arm names them, too."""
    half = Share(share=0.5)
    mixed = Mixture(name="mixed", parts=(Part(arm="real", amount=half), Part(arm="brought", amount=half)))
    made = Perturbation(name="made", parent="brought", generator="diffusion", gamma=0.4)
    comparison = {"a": "mixed", "b": "made"}
    request = judge_of(declaring(**SYNTHETIC), REAL, BROUGHT, mixed, made, comparison=comparison)
    assert request.upstream == "world"
    assert request.given == tuple(
        GivenImages(arm=arm, dataset=dataset, **SYNTHETIC)  # type: ignore[arg-type]
        for arm in ("mixed", "made")
        for dataset in BROUGHT.datasets
    )


def test_data_sets_of_targets_that_are_not_asked_for_are_not_spoken_of() -> None:
    request = judge_of(DictLookup(), REAL, BROUGHT, targets=("fine",))
    assert [images.dataset for images in request.given] == ["fine-by-hand"]


def test_a_judgement_without_given_images_is_named_as_before() -> None:
    request = judge_of(DictLookup(), REAL, Retrieval(name="other"))
    assert (request.given, request.upstream) == ((), None)
    assert "given" not in identity_text(request)


def test_a_declared_origin_moves_no_step_but_the_judgement() -> None:
    plans = [
        plan_experiment(resolve(asked(REAL, BROUGHT), lookup)) for lookup in (DictLookup(), declaring(**SYNTHETIC))
    ]
    plain, declared = ({step.id: step.kind for step in plan.steps} for plan in plans)
    assert {plain[step] for step in set(plain) - set(declared)} == {"judge_experiment"}
    dataset = DictLookup().datasets["fine-by-hand"]
    assert "origin" not in identity_text(dataset)
    assert identity(dataset) != identity(declaring(**SYNTHETIC).datasets["fine-by-hand"])


@pytest.mark.parametrize(
    ("lineage", "reason"),
    [
        ({"made_by": "PixelForge 2"}, "the origin is unknown: say synthetic"),
        ({"origin": "real", "trained_on": "world"}, "the origin is real: say synthetic"),
        ({"origin": "drawn"}, "'real', 'synthetic' or 'unknown'"),
        ({"origin": "synthetic", "made_by": "x" * 201}, "at most 200"),
    ],
)
def test_a_lineage_that_contradicts_itself_is_refused(lineage: dict[str, str], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        declaring(**lineage)


def test_an_origin_may_be_declared_later(tmp_path: Path) -> None:
    with api_client(memory_services(tmp_path)) as client:
        register_everything(client)
        known = client.get("/v1/datasets/fine-by-hand").json()
        assert client.post("/v1/datasets", json=known | SYNTHETIC).status_code == 200
        assert client.get("/v1/datasets/fine-by-hand").json() == known | SYNTHETIC
        other = client.post("/v1/datasets", json=known | SYNTHETIC | {"licence": "CC0-1.0"})
        assert (other.status_code, other.json()["code"]) == (409, "name_taken")
