"""Training sets over HTTP: the images that the trainer draws, in its order, with where each comes from."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.mixture import Mixture, Part, Share
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.identity import identity, sha256

ARMS = ("retrieved", "synthetic")


@pytest.fixture
def finished(services: Services) -> Told:
    told = post_experiment(services)
    finish_experiment(services, told)
    return told


def path_of(told: Told, arm: str = "retrieved") -> str:
    return f"/v1/experiments/{told.id}/arms/{arm}/training-set"


def images(api: TestClient, told: Told, arm: str = "retrieved", **asked: Any) -> list[dict[str, Any]]:
    """Over all pages."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(f"{path_of(told, arm)}/images", params={"target": "fine", **asked, **cursor}).json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_the_images_are_those_that_each_run_recorded(api: TestClient, finished: Told) -> None:
    recorded = {
        (row["arm"], row["size"], row["seed"]): row["digest"]
        for row in api.get(f"/v1/experiments/{finished.id}/manifest").json()["training_sets"]
        if row["target"] == "fine"
    }
    assert len(recorded) == 2 * 2 * 3  # arms, sizes, seeds
    for (arm, size, seed), digest in recorded.items():
        found = images(api, finished, arm, size=size, seed=seed)
        assert len(found) == size
        assert identity([[image["id"], image["class_id"]] for image in found]) == digest
    assert len(set(recorded.values())) == 12


def test_pages_of_any_length_hold_the_same_images_in_the_same_order(api: TestClient, finished: Told) -> None:
    whole = images(api, finished, size=12, seed=1)
    assert len(whole) == 12
    for limit in (1, 5, 11, 12, 13):
        assert images(api, finished, size=12, seed=1, limit=limit) == whole
    assert images(api, finished, size=6, seed=1) == whole[:6]


def test_without_a_size_it_is_all_that_curation_kept(api: TestClient, finished: Told) -> None:
    found = images(api, finished)
    kept = api.get(
        f"/v1/experiments/{finished.id}/arms/retrieved/images", params={"target": "fine", "kept": True, "limit": 200}
    ).json()["items"]
    assert len(found) == 24
    assert {image["id"] for image in found} == {image["id"] for image in kept}
    view = api.get(path_of(finished), params={"target": "fine"}).json()
    assert (view["images"], sum(view["images_by_class"]), view["size"], view["seed"], view["trained_on"]) == (
        24, 24, None, None, None,
    )  # fmt: skip


def test_the_first_seed_is_meant_where_none_is_named(api: TestClient, finished: Told) -> None:
    first, named = (
        api.get(path_of(finished), params={"target": "fine", "size": 6, **asked}).json() for asked in ({}, {"seed": 0})
    )
    assert first == named
    assert (first["images"], first["images_by_class"], first["seed"]) == (6, [2, 2, 2], 0)
    assert first["digest"] == first["trained_on"]


def test_every_image_says_where_it_comes_from_and_its_bytes_are_served(api: TestClient, finished: Told) -> None:
    retrieved, synthetic = (images(api, finished, arm, size=12) for arm in ARMS)
    assert {(image["source_kind"], image["query"][:5], image["generator"]) for image in retrieved} == {
        ("upstream", "thing", None)
    }
    assert {(image["source_kind"], image["query"]) for image in synthetic} == {("generated", "")}
    for image in (*retrieved, *synthetic):
        assert image["caption"] == f"an icon of <thing> {image['class_id']} & friends"
        assert image["source_key"].rpartition("-")[0] in ARMS
        assert (image["width"], image["height"]) == (32, 32)
        assert 0.2 <= image["score"] <= 0.23
        assert sha256(api.get(image["url"]).content) == image["id"]


def test_a_mixture_draws_from_its_parts(api: TestClient, services: Services) -> None:
    arms = (
        NoTraining(),
        Retrieval(name="retrieved"),
        Generation(name="synthetic", generator="diffusion", images=300),
        Mixture(
            name="mixed",
            parts=(
                Part(arm="retrieved", amount=Share(share=0.5)),
                Part(arm="synthetic", amount=Share(share=0.5)),
            ),
        ),
    )
    told = post_experiment(services, spec(arms=arms, seeds=(0, 1)))
    finish_experiment(services, told, truth=lambda cell, metric: 0.5)
    found = images(api, told, "mixed", size=12, seed=1)
    assert [image["part"] for image in found] == ["retrieved"] * 6 + ["synthetic"] * 6
    view = api.get(path_of(told, "mixed"), params={"target": "fine", "size": 12, "seed": 1}).json()
    assert view["digest"] == view["trained_on"]


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"size": 7}, 404, "7 is none of the experiment's sizes, which are 6 and 12"),
        ({"size": 6, "seed": 9}, 404, "9 is none of the experiment's seeds, which are 0, 1 and 2"),
        ({"seed": 1}, 422, "name the size too"),
        ({"target": "nothing"}, 404, "there are 'fine' and 'broad'"),
        ({"size": -1}, 422, ""),
        ({"sice": 6}, 422, "size"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    api: TestClient, finished: Told, asked: dict[str, Any], status: int, words: str
) -> None:
    for path in (path_of(finished), f"{path_of(finished)}/images"):
        answer = api.get(path, params={"target": "fine", **asked})
        assert answer.status_code == status
        assert words in answer.text
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_arm_without_training_and_one_that_is_not_curated_say_so(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    assert api.get(path_of(told, "none"), params={"target": "fine"}).status_code == 404
    waiting = api.get(path_of(told), params={"target": "fine"})
    assert (waiting.status_code, waiting.json()["code"]) == (409, "not_finished")


def test_a_pool_that_is_too_small_says_for_how_many_images_it_is_enough(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(sizes=(6, 48)))
    finish_experiment(services, told, exhausted=frozenset({("retrieved", 48), ("synthetic", 48)}))
    answer = api.get(path_of(told), params={"target": "fine", "size": 48})
    assert answer.status_code == 404
    assert "its pool is enough for 24 images" in answer.json()["detail"]
