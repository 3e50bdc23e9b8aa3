"""docker-compose.yml, rendered by the real Compose binary for both profiles."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from support.deployment import (
    PROCESSES,
    ROOT,
    WORKERS,
    compose_services,
    example_environment,
    image_of,
    run_compose,
    service_of,
    tool,
)
from support.processes import SETTINGS, variables

PROFILES = ("cpu", "gpu")
SERVERS = {"postgres", "valkey", "qdrant", "minio", "prometheus", "grafana"}
ONE_SHOT = {"bucket", "catalogue"}
SECRETS = sorted(name for name in example_environment() if name != "COMPOSE_PROFILES")


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, Any]]:
    return {profile: compose_services(profile) for profile in PROFILES}


def our_processes(services: dict[str, Any]) -> dict[str, Any]:
    ours = {name: service for name, service in services.items() if name.removesuffix("-gpu") in SETTINGS}
    assert {name.removesuffix("-gpu") for name in ours} == set(PROCESSES)
    return ours


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_renders_the_whole_system(rendered: dict[str, dict[str, Any]], profile: str) -> None:
    suffix = "-gpu" if profile == "gpu" else ""
    ours = {f"{name}{suffix}" if name in WORKERS else name for name in PROCESSES}
    assert set(rendered[profile]) == {*ours, *SERVERS, *ONE_SHOT}


def test_every_image_is_built_for_the_service_of_its_name(rendered: dict[str, dict[str, Any]]) -> None:
    built = [service for services in rendered.values() for service in services.values() if service.get("build")]
    assert len(built) == 14
    for service in built:
        arguments, with_cuda = service["build"]["args"], "-cuda:" in service["image"]
        assert arguments["SERVICE"] == service_of(service["image"])
        assert "target" not in service["build"]
        assert (arguments.get("TORCH_BACKEND") == "cuda") == with_cuda
        assert ("TORCH_BACKEND" in arguments) == (arguments["SERVICE"] in WORKERS)


def test_the_file_follows_the_compose_specification() -> None:
    answer = subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("missing", SECRETS)
def test_a_missing_secret_stops_compose_and_is_named(missing: str) -> None:
    environment = {name: value for name, value in example_environment().items() if name != missing}
    answer = run_compose(environment, "config")
    assert answer.returncode != 0
    assert missing in answer.stderr
    assert ".env.example" in answer.stderr


def test_every_variable_is_explained_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    passed_on = set(re.findall(r"^ +([A-Z_0-9]+):$", text, flags=re.MULTILINE))
    assert len(passed_on) == 32
    used = set(re.findall(r"\$\{([A-Z_0-9]+)", text)) | passed_on
    explained = set(re.findall(r"^#?([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert len(used) >= 10
    assert used | {"COMPOSE_PROFILES", "COMPOSE_FILE"} == explained


def test_only_pages_for_people_are_published_and_on_loopback(rendered: dict[str, dict[str, Any]]) -> None:
    for services in rendered.values():
        published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
        assert set(published) == {"api", "prometheus", "grafana"}
        assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_every_service_waits_until_what_it_needs_is_healthy_or_done(rendered: dict[str, dict[str, Any]]) -> None:
    seen = 0
    for services in rendered.values():
        for service in services.values():
            for needed, how in service.get("depends_on", {}).items():
                seen += 1
                done = needed in ONE_SHOT
                assert how["condition"] == ("service_completed_successfully" if done else "service_healthy")
                assert done or has_health_check(services[needed]), needed
    assert seen >= 20


def has_health_check(service: dict[str, Any]) -> bool:
    if service.get("healthcheck"):
        return True
    image = image_of(service["image"])
    return bool(image and image.health_command())


def test_every_long_running_service_restarts_is_bounded_and_gains_no_privileges(
    rendered: dict[str, dict[str, Any]],
) -> None:
    for services in rendered.values():
        for name, service in services.items():
            if name in ONE_SHOT:
                continue
            assert service["restart"] == "unless-stopped", name
            assert "no-new-privileges:true" in service["security_opt"], name
            assert service["deploy"]["resources"], name
            assert has_health_check(service), name


def test_our_processes_write_nothing_but_tmp_and_hold_no_capability(rendered: dict[str, dict[str, Any]]) -> None:
    for services in rendered.values():
        for service in our_processes(services).values():
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            library = [v for v in service.get("volumes", []) if v["target"] == "/library"]
            assert all(volume["read_only"] for volume in library)


def test_workers_cannot_reach_the_database_and_only_retrieval_reaches_the_index(
    rendered: dict[str, dict[str, Any]],
) -> None:
    for services in rendered.values():
        members = {
            network: {name.removesuffix("-gpu") for name, s in services.items() if network in s["networks"]}
            for network in ("sql", "index", "backend")
        }
        assert members["sql"] == {"api", "conductor", "postgres"}
        assert members["index"] == {"retrieval", "qdrant"}
        assert members["backend"] >= {"valkey", "minio", *PROCESSES}


def test_every_variable_of_ours_is_read_by_the_process_that_gets_it(rendered: dict[str, dict[str, Any]]) -> None:
    seen = 0
    for services in rendered.values():
        for name, service in our_processes(services).items():
            image = image_of(service["image"])
            assert image is not None
            everything = {**image.environment(), **service["environment"]}
            given = {each for each in everything if each.startswith("TOUCHSTONE_")}
            assert given <= variables(name.removesuffix("-gpu")), name
            assert "TOUCHSTONE_S3_SECRET_KEY" in given
            seen += len(given)
    assert seen >= 60


def test_images_of_others_are_pinned_by_version(rendered: dict[str, dict[str, Any]]) -> None:
    images = {s["image"] for services in rendered.values() for s in services.values() if not s.get("build")}
    others = {image for image in images if not image.startswith("touchstone-")}
    assert len(others) == 6
    assert all(re.search(r":[\w.-]*\d+[\w.-]*$", image) for image in others)


def test_the_judge_reaches_servers_alone_and_gets_little(rendered: dict[str, dict[str, Any]]) -> None:
    for services in rendered.values():
        judge = services["judge"]
        assert set(judge["networks"]) == {"backend"}
        assert not judge.get("volumes")
        assert judge["deploy"]["resources"]["limits"]["memory"] == str(2**30)
        assert judge["environment"]["OMP_NUM_THREADS"] == "1"


def test_thread_counts_are_pinned_to_one_number(rendered: dict[str, dict[str, Any]]) -> None:
    """Results repeat bit for bit at one thread count only; a default of "all cores" would differ by machine."""
    pinned = {
        (service["environment"]["TOUCHSTONE_THREADS"], service["environment"]["OMP_NUM_THREADS"])
        for services in rendered.values()
        for name, service in services.items()
        if name.removesuffix("-gpu") in WORKERS
    }
    assert pinned == {("2", "2")}


def test_shards_lie_on_a_volume_of_each_worker_and_not_in_its_memory(rendered: dict[str, dict[str, Any]]) -> None:
    seen = 0
    for services in rendered.values():
        for name, service in services.items():
            if name.removesuffix("-gpu") in WORKERS:
                image = image_of(service["image"])
                assert image is not None
                scratch = image.environment()["TMPDIR"]
                volumes = {volume["target"]: volume for volume in service["volumes"]}
                assert volumes[scratch]["type"] == "volume"
                assert "source" not in volumes[scratch], "a named volume would be shared by all workers"
                assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
                seen += 1
    assert seen == 6


GPUS = {1: (), 2: ("compose/gpus-2.yml",), 8: ("compose/gpus-8.yml",)}


@pytest.mark.parametrize("gpus", GPUS)
def test_every_gpu_is_used_and_with_eight_each_worker_has_its_own(gpus: int) -> None:
    services = compose_services("gpu", *GPUS[gpus])
    devices = {
        name: device["device_ids"]
        for name, service in services.items()
        for device in service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    }
    kinds = {name: service_of(services[name]["image"]) for name in devices}
    assert set(kinds.values()) == set(WORKERS)
    assert all(len(ids) == 1 for ids in devices.values()), "a container that sees several GPUs uses the first"
    used = [ids[0] for ids in devices.values()]
    assert set(used) == {str(number) for number in range(gpus)}
    assert len(used) == max(3, gpus)
    # Prometheus finds them by the name of their kind, whatever the service is called.
    for name, kind in kinds.items():
        assert services[name]["networks"]["backend"]["aliases"] == [kind]


def test_gpu_workers_reserve_a_gpu_and_cpu_workers_none(rendered: dict[str, dict[str, Any]]) -> None:
    for profile, services in rendered.items():
        for name in ("retrieval", "generator", "trainer"):
            service = services[f"{name}-gpu" if profile == "gpu" else name]
            reserved = service["deploy"]["resources"].get("reservations", {}).get("devices", [])
            assert [each["capabilities"] for each in reserved] == ([["gpu"]] if profile == "gpu" else [])


def test_prometheus_scrapes_processes_that_exist_on_the_ports_they_answer(
    rendered: dict[str, dict[str, Any]],
) -> None:
    jobs = yaml.safe_load((ROOT / "monitoring/prometheus.yml").read_text())["scrape_configs"]
    fixed = [target for job in jobs for static in job.get("static_configs", []) for target in static["targets"]]
    assert fixed == ["conductor:9100"]
    [api, workers] = [sd for job in jobs for sd in job.get("dns_sd_configs", [])]
    assert (api["names"], api["port"]) == (["api"], 9100)
    everything = rendered["cpu"] | rendered["gpu"]
    assert set(workers["names"]) == {*WORKERS, "judge"}
    for name in (*WORKERS, *(f"{name}-gpu" for name in WORKERS)):
        assert everything[name]["networks"]["backend"]["aliases"] == [name.removesuffix("-gpu")]
    for name in ("api", "conductor", "judge", *WORKERS, *(f"{name}-gpu" for name in WORKERS)):
        image = image_of(everything[name]["image"])
        assert image is not None
        assert image.environment()["TOUCHSTONE_METRICS_PORT"] == str(workers["port"]) == "9100"
