"""ETag, If-None-Match and If-Match over HTTP in process."""

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, post_experiment
from touchstone_api.bootstrap import Services


@pytest.fixture
def told(services: Services) -> Told:
    told = post_experiment(services)
    finish_experiment(services, told)
    return told


@pytest.fixture
def paths(api: TestClient, told: Told) -> list[str]:
    """Of what has no name of its own in the path, and of what is named."""
    experiment = f"/v1/experiments/{told.id}"
    arm = f"{experiment}/arms/retrieved"
    image = api.get(f"{arm}/images?target=fine").json()["items"][0]["url"]
    parts = ("results", "predictions", "verdict", "scaling", "labels", "manifest", "registration", "steps")
    return [
        experiment,
        image,
        f"{arm}?target=fine",
        *(f"{experiment}/{part}" for part in parts),
        *(f"/v1/{entry}" for entry in ("upstreams/world", "targets/fine", "encoders/clip", "generators/diffusion")),
        *(f"/v1/{entry}" for entry in ("experiments", "upstreams", "targets", "encoders", "generators", "datasets")),
    ]


def test_what_the_caller_has_is_not_sent_again(api: TestClient, paths: list[str]) -> None:
    for path in paths:
        first = api.get(path)
        assert first.status_code == 200, path
        again = api.get(path, headers={"If-None-Match": f'W/"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"].startswith("private")
        other = api.get(path, headers={"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content), path
    assert len(paths) == 21


def test_an_etag_changes_with_what_is_shown(api: TestClient, services: Services) -> None:
    path = f"/v1/experiments/{post_experiment(services).id}"
    before = api.get(path).headers["etag"]
    api.post(f"{path}/cancel")
    assert api.get(path, headers={"If-None-Match": before}).status_code == 200
    assert api.get(path).headers["etag"] != before


def test_errors_and_event_streams_have_no_etag(api: TestClient, told: Told) -> None:
    assert "etag" not in api.get("/v1/experiments/none").headers
    assert api.get("/v1/experiments/none", headers={"If-None-Match": "*"}).status_code == 404
    assert "etag" not in api.get(f"/v1/experiments/{told.id}/events").headers


@pytest.mark.parametrize(("method", "action"), [("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry")])
def test_what_has_changed_meanwhile_is_left_alone(
    api: TestClient, services: Services, method: str, action: str
) -> None:
    path = f"/v1/experiments/{post_experiment(services).id}"
    seen = api.get(path).headers["etag"]
    api.post(f"{path}/cancel")
    now = api.get(path)
    refused = api.request(method, f"{path}{action}", headers={"If-Match": seen})
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert api.get(path).content == now.content
    done = api.request(method, f"{path}{action}", headers={"If-Match": now.headers["etag"]})
    assert done.status_code in (200, 204)
