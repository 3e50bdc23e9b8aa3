"""One small experiment, run undisturbed once and then again and again while things go wrong."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import redis
from support.half_open import Proxy
from support.killing import forget_results
from support.oracle import Oracle
from support.running_stack import fresh_stack
from support.servers import server_missing
from support.tiny_world import tiny_study
from support.waiting import until
from touchstone import Client, ProblemError
from touchstone.client import FINISHED
from touchstone_contracts.views import ExperimentDetail, Results
from touchstone_stack.lifecycle import Stack
from touchstone_stack.servers import LOOPBACK, free_ports, valkey_url
from touchstone_stack.state import WORKERS, Folder, State, new_state
from touchstone_stack.supervision import Supervisor

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld

# Steps long enough to be hit in their middle.
STUDY = tiny_study(
    name="undisturbed",
    arms=[
        {"kind": "none"},
        {"kind": "retrieval", "name": "retrieved", "strategy": {"kind": "semantic", "results_per_query": 8}},
        {
            "kind": "generation",
            "name": "synthetic",
            "generator": "tiny-diffusion",
            "images": 24,
            "sampler": {"steps": 15, "batch_size": 2},
        },
    ],
    sizes=[16],
    seeds=[0],
    recipe={"kind": "cross_entropy", "learning_rates": [0.001], "epochs": 10, "batch_size": 2},
)
DISK_BYTES = 8 * 2**30
"""In memory, of which what is written is taken."""
MAX_FAILURES = 50
"""Many more things go wrong with one step than the three that end it by default."""


@dataclass
class Trials:
    """A stack whose processes reach Redis and S3 through proxies, and the experiment that it ran undisturbed."""

    stack: Stack
    client: Client
    redis_proxy: Proxy
    s3_proxy: Proxy
    crashes: Path
    """See touchstone_runtime.crash_points."""
    first: ExperimentDetail
    results: Results
    oracle: Oracle
    names: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    @property
    def state(self) -> State:
        state = self.stack.folder.read_state()
        assert state is not None
        return state

    @property
    def supervisor(self) -> Supervisor:
        return self.stack.supervisor()

    def redis(self) -> redis.Redis:
        """Past the proxy."""
        return redis.Redis.from_url(self.state.redis_url)

    def kill(self, process: str) -> bool:
        """False where it is dead already; then it is started at once."""
        self.supervisor.start(process)
        pid = self.supervisor.pid_of(process)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid != 0

    @contextmanager
    def stopped(self, *processes: str) -> Iterator[None]:
        for process in processes:
            self.supervisor.stop(process)
        try:
            yield
        finally:
            for process in processes:
                self.supervisor.start(process)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """The disk of the object store has no byte left inside the block."""
        disk = self.stack.folder.path / "s3"
        if not disk.is_mount():
            server_missing("only an administrator can mount the small disk that this fills")
        # None can be smaller than what lies on it, and others write meanwhile.
        until(lambda: resized(disk, shutil.disk_usage(disk).used), within=10)
        try:
            yield
        finally:
            assert resized(disk, DISK_BYTES)
            # It takes no writes any more until somebody starts it anew.
            self.supervisor.stop("s3")
            self.supervisor.start("s3")

    def again(self, what: str) -> str:
        """The same experiment under another name, with nothing computed; the id."""
        assert forget_results(self.stack, self.first) == self.first.steps.total == 20
        return self.posted({"name": f"{what} {next(self.names)}"})

    def posted(self, changes: dict[str, Any]) -> str:
        """A clone; the gateway may die meanwhile."""

        def clone() -> str | None:
            try:
                return self.client.clone(self.first.id, changes).id
            except (httpx.HTTPError, OSError):
                return None

        return until(clone, within=120)

    def require_undisturbed(self, experiment: str, within: float = 300) -> ExperimentDetail:
        """It succeeds with the digest of the undisturbed run, and nothing happened that must not."""
        ended = self.finished(experiment, within)
        assert ended.phase == "succeeded", ended.problems
        assert self.client.results(experiment).digest == self.results.digest
        self.oracle.require_sound()
        return ended

    def finished(self, experiment: str, within: float) -> ExperimentDetail:
        """Once it has ended, however often the gateway dies meanwhile."""
        return until(lambda: self.ended(experiment), within=within)

    def ended(self, experiment: str) -> ExperimentDetail | None:
        """None while it goes on, or the gateway is dead."""
        with suppress(httpx.HTTPError, OSError, ProblemError):
            found = self.client.experiment(experiment)
            return found if found.phase in FINISHED else None
        return None

    def at_work(self, experiment: str, kind: str) -> str:
        """Once a step of this kind has been started; its worker."""
        event = next(
            event
            for event in self.client.events(experiment)
            if event.event == "step.started" and event.data["kind"] == kind
        )
        worker: str = event.data["worker"]
        return worker


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, which only an administrator can have; without it, tests that need it say so."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted and folder.is_mount():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resized(disk: Path, size: int) -> bool:
    return subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=False).returncode == 0


@contextmanager
def trials(world: "TinyWorld", folder: Path, **settings: str) -> Iterator[Trials]:
    stack_folder = Folder(folder.resolve() / "stack")
    stack_folder.path.mkdir(parents=True)
    crashes = folder / "crashes"
    crashes.mkdir()
    state = new_state(free_ports(1)[0])
    stack_folder.write_state(state)
    with (
        small_disk(stack_folder.path / "s3"),
        Proxy((LOOPBACK, state.valkey_port)) as redis_proxy,
        Proxy((LOOPBACK, state.s3_ports[0])) as s3_proxy,
    ):
        settings |= {
            "TOUCHSTONE_REDIS_URL": valkey_url(redis_proxy.port, state.secrets.valkey.get_secret_value()),
            "TOUCHSTONE_S3_ENDPOINT": s3_proxy.address,
            "TOUCHSTONE_CRASH_FOLDER": str(crashes),
            "TOUCHSTONE_MAX_FAILURES": str(MAX_FAILURES),
        }
        with fresh_stack(world, stack_folder.path, WORKERS, **settings) as stack:
            started = stack.folder.read_state()
            assert started is not None
            assert started.valkey_port == state.valkey_port, "the proxies lead elsewhere"
            oracle = Oracle(stack_folder.path / "touchstone.db")
            oracle.install()
            with started.client() as client:
                first, _ = client.post_document(STUDY)
                ended = client.wait(first.id, timeout=300)
                results = client.results(first.id)
                yield Trials(stack, client, redis_proxy, s3_proxy, crashes, ended, results, oracle)
