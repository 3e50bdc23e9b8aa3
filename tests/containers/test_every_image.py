"""`make containers`: every image, and docker-compose.yml run to a verdict, with kills, a second trainer and a restart.

The last tests disturb the system: order matters."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.composed import (
    SYSTEM_CERTIFICATES,
    ComposedSystem,
    Container,
    Tell,
    composed_system,
    image_sizes,
    layers,
    pytorch_index_answers,
    wait_for,
)
from support.deployment import IMAGES, PROCESSES, ROOT, WORKERS, compose_services
from support.engine import Engine
from support.finished_demo import short_form
from support.standins import PYTHON, provide
from support.wheel_index import wheel_index
from touchstone import Client
from touchstone_contracts.views import ExperimentDetail

SERVICES = ("postgres", "valkey", "minio", "qdrant", "prometheus", "grafana", *PROCESSES)
OWN_MEGABYTES = 250
"""What a worker's image may add to the layers it shares with the others."""
VICTIMS = {"embed_images": "retrieval", "generate_images": "generator", "adapt_encoder": "trainer"}
"""At the first start of each kind of step, SIGKILL to the worker that does it."""
KILL = "import os; [os.kill(int(p), 9) for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]"
"""Run inside a container: ends everything but its init, which then ends too."""
WITHOUT_CUDA = "touchstone-torch:without-cuda"
LIST_PACKAGES = (
    "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
)
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def system(engine: Engine, tell: Tell) -> Iterator[ComposedSystem]:
    services = compose_services("cpu")
    ours = {service["image"] for service in services.values() if service.get("build")}
    how = provide(engine, [PYTHON, *sorted({service["image"] for service in services.values()} - ours)])
    tell(**how)
    settings = {} if how[services["qdrant"]["image"]] == "pulled" else {"QDRANT_URL": ""}
    if not pytorch_index_answers(ROOT / ".uv/bin/uv", ROOT / ".venv/bin/python"):
        tell(PyTorch="its own index does not answer, so the workers get the wheels with CUDA")
        settings["TORCH_BACKEND"] = "cuda"
    with composed_system(engine, profile="cpu", **settings) as system:
        system.make_up()
        system.up(arguments=("--scale", "trainer=2"))
        containers = system.wait_healthy(SERVICES, within=300)
        tell(**{f"{each.service} {each.id[:12]}": each.health for each in containers})
        assert len(containers) == len(SERVICES) + 1
        yield system


def test_the_workers_share_the_layers_that_are_large(system: ComposedSystem, tell: Tell) -> None:
    sizes = image_sizes(system.engine, [f"{image}:latest" for image in IMAGES if "-cuda" not in image])
    tell(**{image: f"{size / 1e6:.0f} MB" for image, size in sizes.items()})
    tell(**{what: f"{seconds} s" for what, seconds in system.took.items()})
    below = [layers(system.engine, f"touchstone-{name}:latest") for name in WORKERS]
    shared = sum(len(set(level)) == 1 for level in zip(*below, strict=False))
    assert shared >= min(map(len, below)) - 2
    for name in WORKERS:
        own = own_bytes(system.engine, f"touchstone-{name}:latest", len(layers_of(below, name)) - shared)
        tell(**{f"touchstone-{name} alone": f"{own / 1e6:.0f} MB"})
        assert own < OWN_MEGABYTES * 1e6


def layers_of(below: list[list[str]], name: str) -> list[str]:
    return below[WORKERS.index(name)]


def own_bytes(engine: Engine, image: str, count: int) -> int:
    """Of the uppermost `count` layers that hold files."""
    sizes = [int(line) for line in engine.run("history", "--human=false", "--format", "{{.Size}}", image).split()]
    return sum([size for size in sizes if size > 0][:count])


def test_without_cuda_only_torch_comes_from_the_other_index(engine: Engine, tmp_path: Path) -> None:
    """The path of the CPU profile, with an index on this machine instead of PyTorch's."""
    lock = (ROOT / "images/worker.lock").read_text()
    versions = {
        name: re.findall(rf"^{name}==([\d.]+)", lock, flags=re.MULTILINE)[0] for name in ("torch", "torchvision")
    }
    with wheel_index(tmp_path, {name: f"{version}+cpu" for name, version in versions.items()}) as index:
        stage = ("--target", "torch", "--build-arg", "SERVICE=trainer")
        arguments = ("--file", str(ROOT / "images/Dockerfile"), *stage, "--network", "host")
        secret = ("--secret", f"id=ca,src={SYSTEM_CERTIFICATES}") if SYSTEM_CERTIFICATES.exists() else ()
        engine.run(
            "build", "--quiet", *arguments, *secret, "--build-arg", f"TORCH_INDEX={index.url}", "--tag", WITHOUT_CUDA,
            str(ROOT), within=1800,
        )  # fmt: skip
    installed = engine.run("run", "--rm", WITHOUT_CUDA, "python", "-c", LIST_PACKAGES).split()
    assert len(installed) > 40
    assert {f"{name}=={version}+cpu" for name, version in versions.items()} <= set(installed)
    assert not [package for package in installed if re.match(r"nvidia|cuda|triton", package)]
    engine.run("rmi", WITHOUT_CUDA)


def test_a_worker_writes_to_its_disk_and_not_to_its_memory(system: ComposedSystem) -> None:
    looked_at = 0
    for name in WORKERS:
        for container in system.containers(name):
            said = system.execute(container, "stat", "--file-system", "--format", "%n %T", "/tmp", "/scratch")
            kinds = dict(line.split() for line in said.splitlines())
            assert kinds["/tmp"] == "tmpfs"
            assert kinds["/scratch"] != "tmpfs"
            system.execute(container, "touch", "/scratch/written", "/cache/written")
            looked_at += 1
    assert looked_at == 4


@dataclass
class Disturbed:
    """An experiment during which a worker of each kind and the conductor were killed."""

    ended: ExperimentDetail
    killed: dict[str, Container]
    """By service."""
    interrupted: dict[str, int]
    """Step -> the attempt that was cut short."""
    trainers: set[str]
    """Host names of the workers that adapted an encoder."""


@pytest.fixture(scope="module")
def disturbed(system: ComposedSystem, tell: Tell) -> Disturbed:
    study = short_form(yaml.safe_load((ROOT / "studies/quick-look/study.yaml").read_text()))
    answer = httpx.post(f"{system.api}/v1/experiments", json=study, headers=system.as_operator, timeout=60)
    assert answer.status_code == 201, answer.text
    experiment: str = answer.json()["id"]
    killed: dict[str, Container] = {}
    interrupted: dict[str, int] = {}
    trainers: set[str] = set()
    with Client(system.api, key=system.environment["OPERATOR_KEY"]) as client:
        for event in client.events(experiment):
            data: dict[str, Any] = event.data
            if event.event != "step.started":
                continue
            service = VICTIMS.get(data["kind"], "")
            if data["kind"] == "adapt_encoder":
                trainers.add(host_of(data["worker"]))
            if service and service not in killed:
                killed[service] = kill(system, service, host_of(data["worker"]))
                tell(killed=f"{service} {killed[service].id[:12]}")
                interrupted[data["step"]] = data["attempt"]
            if len(killed) == len(VICTIMS) and "conductor" not in killed:
                killed["conductor"] = kill(system, "conductor")
                tell(killed="conductor")
        ended = client.wait(experiment, timeout=1800)
    return Disturbed(ended, killed, interrupted, trainers)


def host_of(worker: str) -> str:
    """The host name in a worker's name `queue@host:pid`: the beginning of its container's id."""
    return worker.partition("@")[2].partition(":")[0]


def kill(system: ComposedSystem, service: str, host: str = "") -> Container:
    """SIGKILL to the process of a container, as the kernel does when memory is short."""
    [container] = [each for each in system.containers(service) if each.id.startswith(host)]
    system.execute(container, "python", "-c", KILL)
    return container


def test_the_experiment_reaches_its_verdict_although_workers_and_the_conductor_were_killed(
    system: ComposedSystem, disturbed: Disturbed, tell: Tell
) -> None:
    assert set(disturbed.killed) == {*VICTIMS.values(), "conductor"}
    assert disturbed.ended.phase == "succeeded"
    verdict = system.get(f"/v1/experiments/{disturbed.ended.id}/verdict")
    tell(verdict=verdict["headline"], steps=disturbed.ended.steps.total)
    results = system.get(f"/v1/experiments/{disturbed.ended.id}/results")
    assert results["complete"]
    assert len(results["rows"]) >= 20
    attempts = {step.id: step.attempt for step in disturbed.ended.step_list}
    repeated = [step for step, attempt in disturbed.interrupted.items() if attempts[step] > attempt]
    assert repeated, "no step that was cut short was done again"


def test_a_killed_process_came_back_by_itself(system: ComposedSystem, disturbed: Disturbed) -> None:
    for service, before in disturbed.killed.items():
        [now] = [each for each in system.containers(service) if each.id == before.id]
        assert now.status == "running"
        assert now.pid != before.pid
        assert now.restarts >= 1


def test_both_trainers_worked(disturbed: Disturbed) -> None:
    assert len(disturbed.trainers) == 2


def test_prometheus_sees_every_process_up(system: ComposedSystem) -> None:
    def look() -> dict[str, int] | None:
        found = httpx.get(f"{system.prometheus}/api/v1/targets", timeout=10).json()["data"]["activeTargets"]
        up = [target["labels"]["job"] for target in found if target["health"] == "up"]
        counts = {job: up.count(job) for job in set(up)}
        return counts if sum(counts.values()) == 7 else None

    assert wait_for("seven targets up", look, within=90) == {"api": 1, "conductor": 1, "workers": 5}


def test_down_and_up_again_keeps_the_answer(system: ComposedSystem, disturbed: Disturbed) -> None:
    path = f"/v1/experiments/{disturbed.ended.id}/verdict"
    before = system.get(path)
    system.down(volumes=False)
    assert system.containers() == []
    system.up()
    system.wait_healthy(SERVICES, within=300)
    assert json.dumps(system.get(path), sort_keys=True) == json.dumps(before, sort_keys=True)
