"""What a local stack remembers between commands: its ports and its credentials, readable by its owner only."""

import fcntl
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, ValidationError
from touchstone import Client
from touchstone_runtime.settings import RuntimeSettings

from touchstone_stack.servers import LOOPBACK, S3_PORTS, free_ports, private_file, valkey_url

WORKERS = {
    "retrieval": "touchstone_retrieval.worker",
    "generator": "touchstone_generator.worker",
    # Two, of one thread each: most steps of an experiment are runs, and they come when the other queues are empty.
    "trainer": "touchstone_trainer.worker",
    "trainer-2": "touchstone_trainer.worker",
    "judge": "touchstone_judge.worker",
}
"""Process name -> module."""
WITH_HEALTH = ("conductor", *WORKERS)


class PortTaken(Exception):
    """Another program listens where the api should."""


Secret = Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value, when_used="json")]
"""Shown by nothing, but written to the state's file."""


def _drawn(length: int) -> SecretStr:
    return SecretStr(secrets.token_hex(length))


class Secrets(BaseModel):
    """Random per machine, made at the first start."""

    valkey: Secret = Field(default_factory=lambda: _drawn(16))
    s3_access_key: str = Field(default_factory=lambda: secrets.token_hex(8))
    """Names who asks; no secret."""
    s3_secret_key: Secret = Field(default_factory=lambda: _drawn(20))
    supervisor: Secret = Field(default_factory=lambda: _drawn(16))
    operator_key: Secret = Field(default_factory=lambda: SecretStr("ts_" + secrets.token_urlsafe(32)))
    """The API key of whoever started the stack."""
    webhook_key: Secret = Field(default_factory=lambda: _drawn(16))
    """What secrets of webhooks are encrypted with in the database."""


class State(BaseModel):
    model_config = ConfigDict(frozen=True)

    api_port: int
    valkey_port: int
    supervisor_port: int
    s3_ports: tuple[int, ...]
    health_ports: dict[str, int]
    """Conductor and workers: where each answers /healthz and /metrics."""
    secrets: Secrets

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.api_port}"

    def client(self) -> Client:
        """As whoever started the stack."""
        return Client(self.api_url, key=self.secrets.operator_key.get_secret_value())

    @property
    def redis_url(self) -> str:
        """With its password."""
        return valkey_url(self.valkey_port, self.secrets.valkey.get_secret_value())

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port but the api's, which is the caller's choice."""
        return (self.valkey_port, self.supervisor_port, *self.s3_ports, *self.health_ports.values())

    def object_store(self) -> RuntimeSettings:
        return RuntimeSettings(
            s3_endpoint=f"{LOOPBACK}:{self.s3_ports[0]}",
            s3_access_key=self.secrets.s3_access_key,
            s3_secret_key=self.secrets.s3_secret_key,
            s3_bucket="touchstone",
        )


def new_state(api_port: int, known: Secrets | None = None) -> State:
    health = WITH_HEALTH
    ports = free_ports(2 + S3_PORTS + len(health))
    return State(
        api_port=api_port,
        valkey_port=ports[0],
        supervisor_port=ports[1],
        s3_ports=tuple(ports[2 : 2 + S3_PORTS]),
        health_ports=dict(zip(health, ports[2 + S3_PORTS :], strict=True)),
        secrets=known or Secrets(),
    )


def refreshed(state: State | None, api_port: int) -> State:
    """The state to start with: old credentials (the data is locked with them), old ports where they are free.

    Raises PortTaken when the api's port is not."""
    if not is_free(api_port):
        raise PortTaken(
            f"port {api_port} is taken by another program; stop it, or choose another port: TOUCHSTONE_PORT=8123"
        )
    if state is None:
        return new_state(api_port)
    # A state of an earlier release may lack a process.
    if set(state.health_ports) == set(WITH_HEALTH) and all(is_free(port) for port in state.ports):
        return state.model_copy(update={"api_port": api_port})
    return new_state(api_port, state.secrets)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that have ended linger; they do not hinder a server, so they must not count here.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Folder:
    """Where one stack keeps everything: state, configuration, logs, data."""

    path: Path

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def read_state(self) -> State | None:
        """None before the first start, or when the file is damaged: a new one is made then."""
        try:
            return State.model_validate_json(self.state_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    @property
    def key_file(self) -> Path:
        """Where `touchstone` and a person with curl find the key."""
        return self.path.parent / "key"

    def write_state(self, state: State) -> None:
        private_file(self.state_file, state.model_dump_json(indent=1))
        private_file(self.key_file, state.secrets.operator_key.get_secret_value())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time works on a stack; the others wait."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path / "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def wipe(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.key_file.unlink(missing_ok=True)
