"""The images without PyTorch, built by a real engine and run as docker-compose.yml says: api, conductor, judge, client
and the servers. `make containers` runs the rest."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from support.composed import ComposedSystem, Container, Tell, composed_system, image_sizes, wait_for
from support.deployment import ROOT, compose_services
from support.engine import Engine, EngineFailed
from support.standins import PYTHON, provide
from support.wheel_index import wheel_index

SERVERS = ("postgres", "valkey", "minio", "prometheus", "grafana")
OURS = ("api", "conductor", "judge")
IMAGES = [f"touchstone-{name}:latest" for name in (*OURS, "client")]
CATALOGUE = yaml.safe_load((ROOT / "miniverse/catalogue.yaml").read_text())
API_MEGABYTES = 900
"""With the stand-in for the Python image, which is 100 MB larger than the slim one."""

LOOK_FOR_TOOLS = "ls -d /opt/tools/* /packages/* /run/secrets/* /locks/*; command -v pip uv gcc; true"


@pytest.fixture(scope="module")
def system(engine: Engine, tell: Tell) -> Iterator[ComposedSystem]:
    services = compose_services("cpu")
    how = provide(engine, [PYTHON, *(services[name]["image"] for name in SERVERS)])
    tell(**how)
    with composed_system(engine, profile="") as system:
        system.build(*OURS, "catalogue")
        system.up(*SERVERS, *OURS, "catalogue")
        system.wait_healthy([*SERVERS, *OURS], within=120)
        tell(**{each.service: f"{each.status} {each.health}" for each in system.containers()})
        yield system


@pytest.mark.timeout(900)
def test_every_service_becomes_healthy(system: ComposedSystem) -> None:
    found = {each.service: each for each in system.containers()}
    assert set(found) == {*SERVERS, *OURS, "bucket", "catalogue"}
    assert all(found[name].health == "healthy" for name in (*SERVERS, *OURS))
    assert found["bucket"].exit_code == 0


def test_images_stay_small(system: ComposedSystem, tell: Tell) -> None:
    sizes = image_sizes(system.engine, IMAGES)
    tell(**{image: f"{size / 1e6:.0f} MB" for image, size in sizes.items()})
    tell(**{what: f"{seconds} s" for what, seconds in system.took.items()})
    assert 100e6 < min(sizes.values()) == sizes["touchstone-client:latest"]
    assert max(sizes.values()) == sizes["touchstone-api:latest"] < API_MEGABYTES * 1e6


@pytest.mark.parametrize("service", OURS)
def test_a_process_of_ours_is_nobody_and_writes_to_tmp_alone(system: ComposedSystem, service: str) -> None:
    container = system.the(service)
    assert system.execute(container, "id", "--user").strip() == "10001"
    system.execute(container, "touch", "/tmp/written")
    for path in ("/written", "/opt/touchstone/written", "/usr/local/written"):
        with pytest.raises(EngineFailed, match="Read-only file system"):
            system.execute(container, "touch", path)
    [ours] = json.loads(system.engine.run("inspect", container.id))
    assert ours["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in ours["HostConfig"]["SecurityOpt"]


def test_no_build_tool_and_no_secret_of_the_build_is_left_in_an_image(system: ComposedSystem) -> None:
    looked_at = 0
    for image in IMAGES:
        history = system.engine.run("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        assert "/etc/ssl" not in history
        assert system.engine.run("run", "--rm", "--entrypoint", "sh", image, "-c", LOOK_FOR_TOOLS) == ""
        looked_at += 1
    assert looked_at == 4


def test_an_image_is_never_built_without_saying_for_which_service(system: ComposedSystem) -> None:
    for service in ((), ("--build-arg", "SERVICE=")):
        with pytest.raises(EngineFailed, match="-base"):
            system.engine.run("build", *service, "--file", str(ROOT / "images/Dockerfile"), str(ROOT))


def test_the_build_asks_a_mirror_in_place_of_the_public_index(
    system: ComposedSystem, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("secret") / "mirror.txt"
    with wheel_index(tmp_path_factory.mktemp("empty"), {}) as mirror:
        secret.write_text(f"{mirror.url}\n")
        stage = ("--target", "tools", "--build-arg", "SERVICE=api")
        build = ("build", "--no-cache", "--network", "host", *stage, "--secret", f"id=mirror,src={secret}")
        with pytest.raises(EngineFailed, match="No matching distribution found for"):
            system.engine.run(*build, "--file", str(ROOT / "images/Dockerfile"), str(ROOT))
    first = next(line for line in (ROOT / "images/requirements.lock").read_text().splitlines() if "==" in line)
    assert [path.strip("/") for path in mirror.asked][:1] == [first.split("==")[0]]


def test_the_database_is_migrated_and_the_api_is_ready(system: ComposedSystem) -> None:
    assert system.get("/readyz") == {"database": "ok", "object_store": "ok"}


def test_the_catalogue_of_the_library_is_registered(system: ComposedSystem) -> None:
    ended = wait_for("the catalogue's end", lambda: _ended(system.the("catalogue")), within=60)
    assert ended.exit_code == 0, system.engine.logs(ended.id)
    for resource in ("upstreams", "targets", "encoders", "generators"):
        registered = {entry["name"] for entry in system.get(f"/v1/{resource}")["items"]}
        assert registered == {entry["name"] for entry in CATALOGUE[resource]}
        assert registered


def _ended(container: Container) -> Container | None:
    return container if container.status == "exited" else None


def test_prometheus_sees_every_process_up(system: ComposedSystem) -> None:
    def look() -> dict[str, str] | None:
        found = httpx.get(f"{system.prometheus}/api/v1/targets", timeout=10).json()["data"]["activeTargets"]
        health = {target["labels"]["job"]: target["health"] for target in found}
        return health if set(health.values()) == {"up"} and len(health) == 3 else None

    assert wait_for("three targets up", look, within=60) == dict.fromkeys(("api", "conductor", "workers"), "up")


def test_a_posted_experiment_is_planned_and_handed_out_by_the_conductor(system: ComposedSystem) -> None:
    """Without workers that have models nothing is computed, but the first steps are leased: database, Redis and
    conductor work."""
    study = yaml.safe_load((ROOT / "studies/quick-look/study.yaml").read_text())
    answer = httpx.post(f"{system.api}/v1/experiments", json=study, headers=system.as_operator, timeout=60)
    assert answer.status_code == 201, answer.text
    experiment: dict[str, Any] = answer.json()

    def look() -> int | None:
        steps = system.get(f"/v1/experiments/{experiment['id']}")["steps"]
        return steps["leased"] or None

    assert wait_for("leased steps", look, within=30) >= 1


def test_the_dashboard_and_its_files_are_served(system: ComposedSystem) -> None:
    page = httpx.get(f"{system.api}/", headers=system.as_operator, timeout=10)
    assert (page.status_code, "Touchstone" in page.text) == (200, True)
    assert "/login" in httpx.get(f"{system.api}/", timeout=10).headers["location"]
    assert len(httpx.get(f"{system.api}/assets/swagger-ui-bundle.js", timeout=30).content) > 1_000_000


def test_down_and_up_again_keeps_what_was_posted(system: ComposedSystem) -> None:
    before = [each["id"] for each in system.get("/v1/experiments")["items"]]
    assert before
    system.down(volumes=False)
    assert system.containers() == []
    system.up(*SERVERS, *OURS, "catalogue")
    system.wait_healthy([*SERVERS, *OURS], within=120)
    assert [each["id"] for each in system.get("/v1/experiments")["items"]] == before
