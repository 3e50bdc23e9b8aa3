"""A real container engine for tests: the one that answers, or Debian's own started here for as long as the tests run.

As root on Debian `make containers-engine` installs what is needed. Where there is none its tests are skipped with a
sentence (and fail where CI is set)."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.deployment import compose_binary

START_SECONDS = 60
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class NoEngine(Exception):
    """The message says what is missing."""


class EngineFailed(Exception):
    """A command of the engine failed; the message holds the end of what it said."""


@dataclass(frozen=True)
class Engine:
    """Commands of docker and compose against one engine."""

    host: str = ""
    """Its socket; empty: docker's own default."""
    docker: str = "docker"
    environment: Mapping[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        chosen = {"DOCKER_HOST": self.host} if self.host else {}
        return {**os.environ, "DOCKER_BUILDKIT": "1", **chosen, **self.environment}

    def run(self, *arguments: str, within: float = 120) -> str:
        """What docker prints on stdout. Raises EngineFailed."""
        return _checked((self.docker, *arguments), self.variables(), within)

    def succeeds(self, *arguments: str) -> bool:
        try:
            self.run(*arguments)
        except EngineFailed:
            return False
        return True

    def logs(self, container: str, lines: int = 30) -> str:
        """The last lines a container said, on either stream."""
        command = (self.docker, "logs", "--tail", str(lines), container)
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, env=self.variables())
        return answer.stdout + answer.stderr

    def version(self) -> str:
        return self.run("version", "--format", "{{.Server.Version}}").strip()

    def compose(self, files: Sequence[Path], *arguments: str, env: Mapping[str, str], within: float = 300) -> str:
        """The real Compose over `files`, whose project folder is that of the first. Raises EngineFailed."""
        named = [part for file in files for part in ("--file", str(file))]
        command = (compose_binary(), "--env-file", os.devnull, *named, *arguments)
        return self.call(command, env, within)

    def call(self, command: Sequence[str], env: Mapping[str, str], within: float) -> str:
        """Any command that finds this engine in its environment. Raises EngineFailed."""
        return _checked(command, {**self.variables(), **env}, within)


def _checked(command: Sequence[str], environment: Mapping[str, str], within: float) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=within, env=dict(environment))
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{' '.join(command)} took more than {within:.0f} s") from error
    except FileNotFoundError as error:
        raise EngineFailed(f"{command[0]} is not installed") from error
    if answer.returncode != 0:
        said = "\n".join((answer.stdout + answer.stderr).splitlines()[-40:])
        raise EngineFailed(f"{' '.join(command)} ended with {answer.returncode}:\n{said}")
    return answer.stdout


def docker_client() -> str:
    """Debian's own before another: it builds with the BuildKit inside the engine, without a plugin."""
    debians = "/usr/bin/docker"
    return debians if os.path.exists(debians) else "docker"


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """The engine that answers; else one of our own that keeps its images in `folder`. Raises NoEngine."""
    found = Engine(docker=docker_client())
    if found.succeeds("version"):
        yield found
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        raise NoEngine(
            "no container engine answers, and none can be started here: install Docker, or as root on Debian run "
            "`make containers-engine`"
        )
    with _own_engine(folder) as engine:
        yield engine


@contextmanager
def _own_engine(folder: Path) -> Iterator[Engine]:
    folder.mkdir(parents=True, exist_ok=True)
    socket, log, forwarding = folder / "docker.sock", folder / "dockerd.log", FORWARDING.read_text()
    command = ("dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*map(str, command), "--host", f"unix://{socket}"], stdout=stream, stderr=subprocess.STDOUT
        )
    engine = Engine(host=f"unix://{socket}", docker=docker_client())
    try:
        _wait_until_it_answers(engine, process, log)
        yield engine
    finally:
        process.terminate()
        process.wait(60)
        # The engine closes the machine's forwarding to all but its own networks, and leaves it so.
        FORWARDING.write_text(forwarding)
        subprocess.run(("iptables", "--policy", "FORWARD", "ACCEPT"), check=False)


def _wait_until_it_answers(engine: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not engine.succeeds("version"):
        if process.poll() is not None or time.monotonic() > deadline:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise NoEngine(f"dockerd does not start here:\n{last}")
        time.sleep(0.2)
