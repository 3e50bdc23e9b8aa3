"""A Valkey with every way in: TCP, a Unix socket, a user with a difficult name, and a sentinel that watches it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from touchstone_stack.servers import LOOPBACK, Server, free_ports, private_file, running, valkey_server, valkey_url

MASTER = "the-master"
USER, USERS_PASSWORD = "lab/käthe@home:1", "p@ss/w:o#r?d;%[é]"


@dataclass(frozen=True)
class ValkeyForms:
    port: int
    socket: Path
    password: str
    sentinel_port: int
    sentinel_password: str


@contextmanager
def valkey_in_every_form(folder: Path) -> Iterator[ValkeyForms]:
    """`folder`: a short path, as those of sockets are. Raises ServerMissing."""
    port, sentinel_port = free_ports(2)
    password, of_sentinel = secrets.token_hex(16), secrets.token_hex(16)
    socket = folder / "a b" / "valkey #1.sock"
    socket.parent.mkdir(parents=True)
    plain = valkey_server(folder / "valkey", port, password)
    settings = Path(plain.command[1])
    settings.write_text(settings.read_text() + f'unixsocket "{socket}"\n')
    with running(plain):
        client = redis.Redis.from_url(valkey_url(port, password))
        client.acl_setuser(
            USER, enabled=True, passwords=[f"+{USERS_PASSWORD}"], categories=["+@all"], keys=["*"], channels=["*"]
        )
        client.close()
        with running(
            _sentinel(folder / "sentinel", sentinel_port, of_sentinel, Path(plain.command[0]), port, password)
        ):
            yield ValkeyForms(port, socket, password, sentinel_port, of_sentinel)


def _sentinel(folder: Path, port: int, password: str, binary: Path, watched: int, watched_password: str) -> Server:
    folder.mkdir()
    settings = private_file(
        folder / "sentinel.conf",
        f"bind {LOOPBACK}\nport {port}\ndir {folder}\nrequirepass {password}\n"
        f"sentinel monitor {MASTER} {LOOPBACK} {watched} 1\nsentinel auth-pass {MASTER} {watched_password}\n",
    )

    def ready() -> bool:
        client = redis.Redis(port=port, password=password, socket_timeout=1)
        try:
            return client.sentinel_get_master_addr_by_name(MASTER) is not None
        except redis.RedisError:
            return False
        finally:
            client.close()

    return Server("sentinel", (str(binary), str(settings), "--sentinel"), folder, ready)
