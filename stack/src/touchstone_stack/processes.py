"""The stack's processes: what each runs, with which environment, and how it shows that it is ready."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from touchstone_stack.servers import LOOPBACK, s3_server, valkey_server
from touchstone_stack.state import WORKERS, Folder, State

OWNER_VARIABLE = "TOUCHSTONE_STACK_OWNER"
"""Every process of a stack carries its folder in this variable, so that strays are recognised as ours."""

OF_EVERY_STACK = (
    "TOUCHSTONE_CPU_HOUR_PRICE",
    "TOUCHSTONE_GPU_HOUR_PRICE",
    *(f"TOUCHSTONE_ALLOWED_{source}" for source in ("LIBRARY", "BUCKETS", "HUB", "HOSTS")),
    "TOUCHSTONE_DOWNLOAD_PRIVATE_ADDRESSES",
    "TOUCHSTONE_FETCHED_BYTES",
    "TOUCHSTONE_MAX_UPLOAD_BYTES",
    "TOUCHSTONE_UPLOAD_QUOTA_BYTES",
    *(f"TOUCHSTONE_{setting}" for setting in ("TORCH_DTYPE", "TORCH_COMPILE", "ATTENTION_SLICING", "OFFLOAD")),
)
"""Variables of the caller that a stack keeps: prices, where models and data may come from, how large they may be, and
how generators run."""


OF_ITS_OWN = {"judge": {"TOUCHSTONE_THREADS": "1", "OMP_NUM_THREADS": "1"}}
"""Variables of one process. The judge computes for seconds at a time: further threads would only take memory."""


@dataclass(frozen=True)
class Process:
    name: str
    command: tuple[str, ...]
    folder: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: int = 10
    """After SIGTERM; then SIGKILL. Cutting work short is safe: an unfinished step is done again."""


@dataclass(frozen=True)
class Layout:
    """What a stack is made of, besides its state."""

    folder: Folder
    library: Path
    """Folder that `library:` locations are relative to."""
    threads: int
    """CPU threads of each worker but the judge, which has one."""
    workers: Mapping[str, str] = field(default_factory=lambda: WORKERS)
    """All of state.WORKERS, or some of them."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further TOUCHSTONE_* variables for every process."""
    settled_seconds: int = 20
    """A process that ends sooner than this after its start is started again after a growing pause."""


Stages = tuple[tuple[Process, ...], ...]


def stages(layout: Layout, state: State) -> Stages:
    """Servers first; then the api, which migrates the database, beside the workers; then the conductor."""
    common = shared_environment(layout, state)
    folder = layout.folder.path
    valkey = valkey_server(folder / "valkey", state.valkey_port, state.secrets.valkey.get_secret_value())
    s3 = s3_server(folder / "s3", list(state.s3_ports), state.object_store())
    servers = tuple(Process(s.name, s.command, s.folder, s.ready, s.environment) for s in (valkey, s3))
    serving = ("-m", "uvicorn", "--factory", "touchstone_api.main:create_app", "--no-access-log")
    address = ("--host", LOOPBACK, "--port", str(state.api_port), "--timeout-graceful-shutdown", "2")
    api = Process(
        "api",
        (sys.executable, *serving, *address),
        folder,
        lambda: answers(f"{state.api_url}/readyz"),
        {**common, **_gate(state)},
    )
    workers = tuple(_with_health(name, module, layout, state) for name, module in layout.workers.items())
    conductor = _with_health("conductor", "touchstone_conductor", layout, state)
    return (servers, (api, *workers), (conductor,))


def _gate(state: State) -> dict[str, str]:
    """Of the api alone: its keys, and that whoever sits at this machine needs none for the pages."""
    return {
        **_webhooks(state),
        "TOUCHSTONE_OPERATOR_KEY": state.secrets.operator_key.get_secret_value(),
        "TOUCHSTONE_OPEN_ON_THIS_MACHINE": "true",
    }


def _webhooks(state: State) -> dict[str, str]:
    return {"TOUCHSTONE_WEBHOOK_KEY": state.secrets.webhook_key.get_secret_value()}


def _with_health(name: str, module: str, layout: Layout, state: State) -> Process:
    port = state.health_ports[name]
    return Process(
        name=name,
        command=(sys.executable, "-m", module),
        folder=layout.folder.path,
        ready=lambda: answers(f"http://{LOOPBACK}:{port}/healthz"),
        environment={
            **shared_environment(layout, state),
            "TOUCHSTONE_METRICS_PORT": str(port),
            **(_webhooks(state) if name == "conductor" else {}),
            **OF_ITS_OWN.get(name, {}),
        },
        stop_seconds=4,
    )


def shared_environment(layout: Layout, state: State) -> dict[str, str]:
    store, folder = state.object_store(), layout.folder.path
    threads = str(layout.threads)
    return {
        "TOUCHSTONE_REDIS_URL": state.redis_url,
        "TOUCHSTONE_S3_ENDPOINT": store.s3_endpoint,
        "TOUCHSTONE_S3_ACCESS_KEY": store.s3_access_key,
        "TOUCHSTONE_S3_SECRET_KEY": store.s3_secret_key.get_secret_value(),
        "TOUCHSTONE_S3_BUCKET": store.s3_bucket,
        "TOUCHSTONE_DATABASE_URL": f"sqlite:///{folder / 'touchstone.db'}",
        "TOUCHSTONE_INDEX_FOLDER": str(folder / "index"),
        "TOUCHSTONE_LIBRARY": str(layout.library),
        "TOUCHSTONE_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        **layout.extra,
    }


def inherited_environment(folder: Folder) -> dict[str, str]:
    """The caller's environment without settings meant for other stacks or for tests, but those of OF_EVERY_STACK."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in OF_EVERY_STACK or not name.startswith(("TOUCHSTONE_", "PYTEST_"))
    }
    return kept | {OWNER_VARIABLE: str(folder.path)}


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
