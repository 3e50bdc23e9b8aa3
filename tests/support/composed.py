"""docker-compose.yml, really started: built, brought up under a project and ports of its own, and asked questions."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
from support.deployment import ROOT, compose_binary, example_environment
from support.engine import Engine, EngineFailed
from touchstone_stack.servers import free_ports

COMPOSE_FILE = ROOT / "docker-compose.yml"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_SECONDS = 3600

Found = TypeVar("Found")


class Tell(Protocol):
    """Prints facts to the log of the run."""

    def __call__(self, **facts: object) -> None: ...


class NotInTime(Exception):
    """Something was waited for in vain; the message says what, and what was seen last."""


def wait_for(what: str, look: Callable[[], Found | None], within: float, pause: float = 0.5) -> Found:
    """Looks until there is something. Raises NotInTime."""
    deadline = time.monotonic() + within
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise NotInTime(f"{what}: not within {within:.0f} s")
        time.sleep(pause)
    return found


@dataclass(frozen=True)
class Container:
    id: str
    service: str
    status: str
    """running, exited, ..."""
    health: str
    """healthy, starting, unhealthy, or empty where nothing is asked."""
    exit_code: int
    pid: int
    restarts: int


@dataclass
class ComposedSystem:
    """One project of docker-compose.yml."""

    engine: Engine
    environment: Mapping[str, str]
    project: str
    files: Sequence[Path] = (COMPOSE_FILE,)
    took: dict[str, float] = field(default_factory=dict)
    """Seconds by what was done."""

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.environment['API_PORT']}"

    @property
    def as_operator(self) -> dict[str, str]:
        """Headers."""
        return {"Authorization": f"Bearer {self.environment['OPERATOR_KEY']}"}

    @property
    def prometheus(self) -> str:
        return f"http://127.0.0.1:{self.environment['PROMETHEUS_PORT']}"

    def compose(self, *arguments: str, within: float = 300) -> str:
        return self.engine.compose(
            self.files, "--project-name", self.project, *arguments, env=self.environment, within=within
        )

    def build(self, *services: str) -> None:
        with self._timed(f"build {' '.join(services)}"):
            self.compose("build", *services, within=BUILD_SECONDS)

    def up(self, *services: str, arguments: Sequence[str] = ()) -> None:
        """Raises EngineFailed with what the containers that are not well said."""
        try:
            self.compose("up", "--detach", "--no-build", *arguments, *services, within=600)
        except EngineFailed as error:
            raise EngineFailed(f"{error}\n{self.complaints()}") from None

    def make_up(self) -> None:
        """`make compose-up`, with this project's secrets instead of a .env file. Raises EngineFailed."""
        compose = f"{compose_binary()} --env-file {os.devnull} --project-name {self.project}"
        # As if .env were there: the repository's own, if there is one, stays out of this.
        command = ("make", "--directory", str(ROOT), "--old-file=.env", "compose-up", f"COMPOSE={compose}")
        with self._timed("make compose-up"):
            self.engine.call(command, self.environment, within=BUILD_SECONDS)

    def down(self, *, volumes: bool) -> None:
        self.compose("down", "--timeout", "20", *(("--volumes",) if volumes else ()), within=300)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.took[what] = round(time.monotonic() - started, 1)

    def containers(self, service: str = "") -> list[Container]:
        ids = self.compose("ps", "--all", "--quiet", *((service,) if service else ())).split()
        if not ids:
            return []
        found = json.loads(self.engine.run("inspect", *ids))
        return [_container(each) for each in found]

    def the(self, service: str) -> Container:
        """The one container of a service."""
        [container] = self.containers(service)
        return container

    def wait_healthy(self, services: Sequence[str], within: float) -> list[Container]:
        """Every container of these services, as soon as all are running and healthy (or, without a health check,
        have ended well). Raises NotInTime with what the first unhealthy one said."""

        def look() -> list[Container] | None:
            found = [container for service in services for container in self.containers(service)]
            return found if len(found) >= len(services) and all(map(_is_well, found)) else None

        try:
            return wait_for(f"healthy {', '.join(services)}", look, within, pause=1)
        except NotInTime as error:
            raise NotInTime(f"{error}\n{self.complaints()}") from None

    def complaints(self) -> str:
        """The states of all containers and the last lines of those that are not well."""
        containers = self.containers()
        states = ", ".join(f"{each.service} {each.status} {each.health}".strip() for each in containers)
        logs = [f"--- {each.service}\n{self.engine.logs(each.id)}" for each in containers if not _is_well(each)]
        return "\n".join([states, *logs])

    def execute(self, container: Container, *command: str) -> str:
        return self.engine.run("exec", container.id, *command)

    def wait_for_experiment(self, experiment: str, within: float) -> dict[str, Any]:
        """The finished experiment. Raises NotInTime, AssertionError when it failed."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(f"/v1/experiments/{experiment}")
            assert found["phase"] != "failed", found["problems"]
            return found if found["phase"] == "succeeded" else None

        try:
            return wait_for(f"the end of {experiment}", look, within, pause=2)
        except NotInTime as error:
            raise NotInTime(f"{error}\n{self.complaints()}") from None

    def get(self, path: str) -> Any:
        """The JSON at a path of the api, asked again while the api is starting."""

        def look() -> Any | None:
            try:
                answer = httpx.get(self.api + path, headers=self.as_operator, timeout=30)
            except httpx.TransportError:
                return None
            return None if answer.status_code >= 502 else answer

        answer = wait_for(f"an answer to {path}", look, 60)
        answer.raise_for_status()
        return answer.json()


def _container(found: dict[str, Any]) -> Container:
    state = found["State"]
    return Container(
        id=found["Id"],
        service=found["Config"]["Labels"]["com.docker.compose.service"],
        status=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        exit_code=state["ExitCode"],
        pid=state["Pid"],
        restarts=found["RestartCount"],
    )


def _is_well(container: Container) -> bool:
    if container.status == "running":
        return container.health in {"", "healthy"}
    return container.status == "exited" and container.exit_code == 0


@contextmanager
def composed_system(engine: Engine, profile: str, **settings: str) -> Iterator[ComposedSystem]:
    """A project with fresh secrets and free ports; taken down with its volumes afterwards."""
    names = ("API_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
    ports = {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
    generated = {name: secrets.token_hex(12) for name, value in example_environment(fill="").items() if not value}
    certificates = {"BUILD_CA": str(SYSTEM_CERTIFICATES)} if SYSTEM_CERTIFICATES.exists() else {}
    environment = {**generated, "COMPOSE_PROFILES": profile, **ports, **certificates, **settings}
    system = ComposedSystem(engine, environment, project=f"touchstone-test-{os.getpid()}-{profile or 'light'}")
    try:
        yield system
    finally:
        system.down(volumes=True)


def image_sizes(engine: Engine, images: Sequence[str]) -> dict[str, int]:
    """Bytes of each image, shared layers counted in each."""
    return {image: int(engine.run("image", "inspect", "--format", "{{.Size}}", image)) for image in images}


def layers(engine: Engine, image: str) -> list[str]:
    """Digests of an image's layers, lowest first."""
    found: list[str] = json.loads(engine.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


def pytorch_index_answers(uv: Path, python: Path) -> bool:
    """Whether PyTorch's own index, where wheels without CUDA come from, can be reached from here."""
    command = (str(uv), "pip", "install", "--dry-run", "--python", str(python), "--torch-backend", "cpu", "--no-deps")
    answer = subprocess.run((*command, "--reinstall", "torch"), capture_output=True, text=True, timeout=120)
    return answer.returncode == 0
