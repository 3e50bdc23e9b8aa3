"""What the API tells of single images: candidates with all their facts, held-out images, and what sizes draw."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, post
from support.shown_images import FATES, HELD_OUT, MODEL, OF_CLASS_ONE, held_out_rows, pool_rows, show_images
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_api.results.images import reason_words
from touchstone_api.results.reasons import why
from touchstone_contracts.arms.mixture import Mixture, Part, Share
from touchstone_contracts.curation import AllOf, Curation, KeepAboveScore, KeepTopFraction, drop_words
from touchstone_contracts.identity import sha256
from touchstone_contracts.recipes.optimisation import Optimisation

FACTS = {
    "kept": False,
    "score": 0.2,
    "part": -1,
    "nearest_test_cosine": 0.97,
    "nearest_validation_cosine": 0.98,
    "nearest_upstream_cosine": 0.99,
}


@pytest.fixture
def told(services: Services) -> Told:
    return show_images(services)


def arm_path(told: Told, arm: str = "retrieved") -> str:
    return f"/v1/experiments/{told.id}/arms/{arm}"


def details(api: TestClient, told: Told, arm: str, row: int) -> dict[str, Any]:
    image = pool_rows("fine", arm)[row].id
    answer = api.get(f"{arm_path(told, arm)}/images/{image}/details", params={"target": "fine", "row": row})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_leaked_image_is_told_with_the_test_image_that_it_resembles(api: TestClient, told: Told) -> None:
    found = details(api, told, "retrieved", FATES.index((0, "leaked")))
    assert (found["kept"], found["drop_reason"]) == (False, "leaked")
    assert found["why"] == "Dropped as a leak: its cosine to the nearest test image is 0.971, and the limit is 0.950."
    nearest = found["nearest_test"]
    assert (nearest["split"], nearest["class_name"], nearest["source_key"]) == ("test", "thing 0", "test-0")
    assert nearest["id"] == found["nearest_test_id"]
    answer = api.get(nearest["url"])
    assert sha256(answer.content) == nearest["id"]
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]


def test_every_image_of_the_held_out_splits_is_served_and_no_other(api: TestClient, told: Told) -> None:
    rows = held_out_rows("fine", "test") + held_out_rows("fine", "validation")
    served = [api.get(f"/v1/experiments/{told.id}/targets/fine/images/{row.id}") for row in rows]
    assert [sha256(answer.content) for answer in served] == [row.id for row in rows]
    assert len(served) == 2 * HELD_OUT
    other = held_out_rows("broad", "test")[0].id
    for target, image, status in (("fine", other, 404), ("fine", "x", 404), ("nowhere", rows[0].id, 404)):
        answer = api.get(f"/v1/experiments/{told.id}/targets/{target}/images/{image}")
        assert (answer.status_code, answer.json()["code"]) == (status, "not_found")


def test_a_perturbed_image_names_its_parent_gamma_and_seed(api: TestClient, told: Told) -> None:
    found = details(api, told, "soft", 1)
    parent = pool_rows("fine", "retrieved")[1]
    assert (found["parent"], found["parent_arm"], found["gamma"]) == (parent.id, "retrieved", pytest.approx(0.2))
    assert (found["seed"], found["source_kind"], found["generator"]) == (8, "perturbed", "diffusion")
    assert sha256(api.get(found["parent_url"]).content) == parent.id
    assert (found["nearest_validation"], found["nearest_validation_cosine"]) == (None, None)


def test_a_generated_image_names_prompt_seed_and_sampler(api: TestClient, told: Told) -> None:
    found = details(api, told, "synthetic", 5)
    assert (found["seed"], found["model_digest"], found["scheduler"], found["steps"]) == (1005, MODEL, "ddim", 50)
    assert found["caption"] == "an icon of <thing> 1 & friends"
    assert (found["parent"], found["parent_arm"], found["parent_url"]) == ("", None, "")
    assert found["why"] == "Kept: no stage of curation dropped it."


def test_an_image_of_two_classes_is_told_in_both(api: TestClient, told: Told) -> None:
    conflict = FATES.index((2, "label_conflict"))
    of_two, of_one = details(api, told, "retrieved", conflict), details(api, told, "retrieved", OF_CLASS_ONE)
    assert of_one["id"] == of_two["id"]
    assert (of_one["class_name"], of_two["class_name"]) == ("thing 1", "thing 2")
    [other] = of_two["other_entries"]
    assert (other["class_name"], other["kept"], other["drop_reason"]) == ("thing 1", True, "")
    assert f"row={OF_CLASS_ONE}" in other["page"]
    [other] = of_one["other_entries"]
    assert (other["kept"], other["drop_reason"]) == (False, "label_conflict")
    # A row that holds another image does not count: the first that holds this one is told.
    address = f"{arm_path(told)}/images/{of_one['id']}/details"
    assert api.get(address, params={"target": "fine", "row": 0}).json()["row"] == OF_CLASS_ONE
    assert api.get(address, params={"target": "fine", "row": 2**31 - 1}).json()["row"] == OF_CLASS_ONE


def test_candidates_are_listed_by_the_reason_they_were_dropped_for(api: TestClient, told: Told) -> None:
    reasons = [reason for _, reason in FATES if reason]
    assert len(reasons) == 6
    for reason in reasons:
        listed = api.get(f"{arm_path(told)}/images", params={"target": "fine", "drop_reason": reason}).json()["items"]
        assert [image["drop_reason"] for image in listed] == [reason]
        assert f"show={reason}" in listed[0]["page"]
    refused = api.get(f"{arm_path(told)}/images", params={"target": "fine", "drop_reason": "leakd"})
    assert refused.status_code == 422
    assert "did you mean 'leaked'" in refused.json()["detail"]


def test_what_is_asked_wrongly_or_too_early_is_refused(api: TestClient, services: Services, told: Told) -> None:
    image = pool_rows("fine", "retrieved")[0].id
    asked = {
        f"{arm_path(told)}/images/{'0' * 64}/details?target=fine": 404,
        f"{arm_path(told, 'none')}/images/{image}/details?target=fine": 404,
        f"{arm_path(told)}/images/{image}/details": 422,
        f"{arm_path(told)}/images/{image}/details?target=fine&row=-1": 422,
        f"{arm_path(told)}/images/{image}/details?target=fine&row=many": 422,
    }
    assert {address: api.get(address).status_code for address in asked} == asked
    waiting = post(services, spec(name="waiting", seeds=(5, 6)), DictLookup())
    early = api.get(f"/v1/experiments/{waiting.id}/targets/fine/images/{held_out_rows('fine', 'test')[0].id}")
    # The splits were ingested for the first experiment, whose steps this one shares.
    assert early.status_code == 200


def test_every_reason_is_explained_in_a_sentence() -> None:
    rules = Curation(
        filter=AllOf(rules=(KeepAboveScore(), KeepTopFraction())), novelty_cosine=0.9, label_conflicts="best_class"
    )
    sentences = {reason: why(FACTS | {"drop_reason": reason}, rules) for reason in reason_words()}
    assert len(set(sentences.values())) == len(sentences) - 1  # two kinds of filter that these rules have not
    assert len(sentences) >= len(drop_words()) + 2 >= 12
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in sentences.values())
    assert not [sentence for sentence in sentences.values() if "not stored" in sentence.removesuffix("is not stored.")]
    assert sentences["filtered/keep_top_fraction"] == (
        "Dropped by the filter: its CLIP score of 0.200 is not in the top fraction."
    )
    one_rule = why(FACTS | {"drop_reason": "filtered"}, Curation(filter=KeepAboveScore(minimum=0.25)))
    assert one_rule == "Dropped by the filter: its CLIP score of 0.200 is below the score."
    mixed = why(FACTS | {"drop_reason": "near_duplicate", "part": 1}, rules)
    assert "an earlier part of the mixture keeps the same image" in mixed


def test_an_arm_tells_how_many_images_each_size_draws(api: TestClient, services: Services, told: Told) -> None:
    drawn = api.get(arm_path(told), params={"target": "fine"}).json()["drawn"]
    assert drawn == [{"size": 6, "images": 6}, {"size": 12, "images": None}]  # six images were kept
    parts = tuple(Part(arm=arm, amount=Share(share=0.5)) for arm in ("synthetic", "retrieved"))
    mixed = post(services, spec(name="mixed", arms=(*spec().arms, Mixture(name="mixed", parts=parts))), DictLookup())
    finish_experiment(services, mixed, truth=lambda cell, metric: 0.5)
    drawn = api.get(arm_path(mixed, "mixed"), params={"target": "fine"}).json()["drawn"]
    assert drawn == [{"size": 6, "images": 6}, {"size": 12, "images": 12}]


def test_the_runs_of_an_arm_tell_loss_and_accuracy_of_every_epoch(api: TestClient, told: Told) -> None:
    found = api.get(f"{arm_path(told)}/runs", params={"target": "fine", "size": 6}).json()
    assert isinstance(told.spec.recipe, Optimisation)
    rates = told.spec.recipe.learning_rates
    assert found["planned"] == len(found["runs"]) == len(rates) * len(told.spec.seeds) >= 2
    assert [(run["learning_rate"], run["seed"]) for run in found["runs"]] == [
        (rate, seed) for rate in sorted(rates) for seed in told.spec.seeds
    ]
    scores = [(score["epoch"], score["train_loss"]) for run in found["runs"] for score in run["epochs"]]
    assert scores == [(1, 1.0)] * found["planned"]
    assert api.get(f"{arm_path(told)}/runs", params={"target": "fine"}).json()["size"] == 12
    for asked in ("target=fine&size=7", "target=nowhere&size=6"):
        assert api.get(f"{arm_path(told)}/runs?{asked}").status_code == 404
    assert api.get(f"{arm_path(told, 'none')}/runs", params={"target": "fine"}).status_code == 404
