"""Whatever is not known by its name comes with the nearest that the asker may see, at a bounded cost."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, post_experiment, register_all
from support.memory_services import api_client, memory_services
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.access import Limits, NewKey
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes import RECIPES
from touchstone_contracts.suggestions import MOST_SUGGESTED, did_you_mean, nearest, suggestion
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project
from touchstone_verdict.judge import judge


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    found = memory_services(tmp_path)
    register_all(found, DictLookup())
    yield found
    found.store.close()


@pytest.fixture
def api(services: Services) -> Iterator[TestClient]:
    with api_client(services) as client:
        yield client


def test_names_that_look_alike_are_suggested_the_nearest_first() -> None:
    assert nearest("Retreived", ["retrieved", "synthetic"]) == ["retrieved"]
    assert nearest("flgas", ["birds", "flag", "flags", "flags-2"])[0] == "flags"
    assert did_you_mean("x", ["retrieved"]) == ""
    assert suggestion("x", []) == "there are none yet"
    assert suggestion("x", [f"arm {n:02}" for n in range(30)]).endswith("'arm 07' and '22 more'")
    assert nearest("", ["a"]) == nearest("a", [""]) == []


@pytest.mark.parametrize("text", ["class-of-objects-0123x-with-a-long-name", "z" * 1_000_000, "é"])
def test_ten_thousand_names_are_looked_through_quickly(text: str) -> None:
    names = [f"class-of-objects-{number:05}-with-a-long-name" for number in range(20_000)]
    began = time.process_time()
    found = nearest(text, names)
    assert time.process_time() - began < 1  # measured: 0.06 s
    assert len(found) <= 3
    assert all(name < "class-of-objects-10000" for name in found), "no more than the first 10,000 are looked at"


def document(**changes: Any) -> dict[str, Any]:
    return spec().model_dump(mode="json") | changes


def with_arm(position: int, **changes: Any) -> dict[str, Any]:
    found = document()
    found["arms"][position] |= changes
    return found


COMPARED = {"a": "retrieved", "b": "synthetic"}
RULE = {"kind": "keep_above_class_score", "minimums": {"thnig 1": 0.2}}
POSTED = {
    "upstream": (document(upstream="wrold"), "/upstream", "'world'"),
    "encoder": (document(encoder="clipp"), "/encoder", "'clip'"),
    "judge encoder": (document(judge_encoder="clpi"), "/judge_encoder", "'clip'"),
    "target": (document(targets=["fine", "brod"]), "/targets/1", "'broad'"),
    "generator": (with_arm(2, generator="difusion"), "/arms/2/generator", "'diffusion'"),
    "arm kind": (with_arm(1, kind="retreival"), "/arms/1/kind", "'retrieval'"),
    "field of an arm": (with_arm(1, strateggy={}), "/arms/1/strateggy", "'strategy'"),
    "strategy": (with_arm(1, strategy={"kind": "smeantic"}), "/arms/1/strategy/kind", "'semantic'"),
    "field": (document(sizess=[6]), "/sizess", "'sizes'"),
    "recipe": (document(recipe={"kind": "cross_entropi"}), "/recipe/kind", "'cross_entropy'"),
    "metric": (document(evaluation={"metrics": ["zeroshot"]}), "/evaluation/metrics/0", "'zero_shot'"),
    "value": (document(curation={"ranking": "scores"}), "/curation/ranking", "'score'"),
    "class": (document(curation={"filter": RULE}), "/curation/filter/minimums/thnig 1", "'thing 1'"),
    "compared arm": (document(comparison=COMPARED | {"a": "retreived"}), "", "'retrieved'"),
    "test set": (document(comparison=COMPARED | {"test_set": "tset"}), "/comparison/test_set", "'test'"),
}


@pytest.mark.parametrize("case", POSTED)
def test_an_experiment_with_an_unknown_name_is_refused_with_the_nearest(api: TestClient, case: str) -> None:
    posted, pointer, meant = POSTED[case]
    answer = api.post("/v1/experiments/validate", json=posted)
    assert answer.status_code == 422, answer.text
    details = [error["detail"] for error in answer.json()["errors"] if error["pointer"] == pointer]
    assert details, answer.json()["errors"]
    assert "did you mean" in details[0]
    assert meant in details[0].partition("did you mean")[2]


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("/v1/upstreams/wrold", "'world'"),
        ("/v1/targets/fien", "'fine'"),
        ("/v1/datasets/fine-by-hnad", "'fine-by-hand'"),
        ("/v1/encoders/clipp", "'clip'"),
        ("/v1/generators/difusion", "'diffusion'"),
        ("/v1/experiments?phase=runing", "'running'"),
        ("/v1/experiments?sort=newst", "'newest'"),
    ],
)
def test_an_address_with_an_unknown_name_answers_with_the_nearest(api: TestClient, address: str, meant: str) -> None:
    answer = api.get(address)
    assert answer.status_code in {404, 422}
    assert f"did you mean {meant}" in answer.text


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("arm=retreived&size=6&target=fine", "'retrieved'"),
        ("arm=retrieved&size=6&target=fien", "'fine'"),
        ("arm=retrieved&size=6&target=fine&test_set=tset", "'test'"),
        ("arm=retrieved&size=7&target=fine", "it has 6 and 12"),
    ],
)
def test_results_of_an_unknown_arm_target_or_size_say_what_there_is(
    services: Services, api: TestClient, query: str, meant: str
) -> None:
    told = post_experiment(services, spec())
    finish_experiment(services, told)
    answer = api.get(f"/v1/experiments/{told.id}/classes?{query}")
    assert answer.status_code == 404
    assert meant in answer.json()["detail"]


def test_names_of_another_project_are_not_suggested_until_they_are_shared(services: Services, api: TestClient) -> None:
    with services.store.write() as session:
        project = create_project(session, "other", Limits(), datetime.now(UTC))
        key = create_key(session, project, NewKey(label="x", scope="admin"), datetime.now(UTC)).key
    stranger = TestClient(api.app, headers={"Authorization": f"Bearer {key}"}, base_url="http://localhost")
    for ask in (
        lambda: stranger.get("/v1/upstreams/wrold"),
        lambda: stranger.post("/v1/experiments/validate", json=document(upstream="wrold")),
    ):
        answer = ask()
        assert answer.status_code in {404, 422}
        assert "'world'" not in answer.text
        assert "there are none yet" in answer.text
    assert api.put("/v1/upstreams/world/share").status_code == 204
    assert "did you mean 'world'?" in stranger.get("/v1/upstreams/wrold").text


def test_a_hundred_unknown_fields_do_not_get_a_suggestion_each(api: TestClient) -> None:
    answer = api.post("/v1/experiments", json=document(**{f"size{number}": 0 for number in range(90)}))
    suggested = [error["detail"] for error in answer.json()["errors"] if "did you mean" in error["detail"]]
    assert len(suggested) == MOST_SUGGESTED
    assert len(answer.json()["errors"]) == 90


def test_a_kind_that_nobody_carries_out_comes_with_the_nearest() -> None:
    with pytest.raises(Invalid, match="did you mean 'cross_entropy'"):
        RECIPES["cros_entropy"]


def test_the_arm_of_predictions_made_elsewhere_too() -> None:
    table = {
        "arm": np.repeat(["real", "made"], 4),
        "target": np.full(8, "flags"),
        "test_set": np.full(8, "test"),
        "size": np.full(8, 10),
        "seed": np.tile([0, 0, 1, 1], 2),
        "image": np.tile(["a", "b"], 4),
        "correct": np.tile([0, 1], 4),
    }
    with pytest.raises(Invalid, match="did you mean 'made'"):
        judge(table, Comparison(a="real", b="mades"))
