"""One POST to an address that somebody gave: where it leads is judged when it is connected, no redirect is followed,
and however slowly it answers, it has an end."""

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from touchstone_runtime.addresses import ForbiddenPort, PrivateAddress, require_web_server


@dataclass(frozen=True)
class Posted:
    """`status` is None where nothing was answered; `problem` says why it was not accepted, and is None where it was."""

    status: int | None = None
    problem: str | None = None


def post(url: str, body: bytes, headers: Mapping[str, str], *, private_addresses: bool, seconds: float) -> Posted:
    """`seconds`: for everything but the lookup of the name."""
    parts = urlsplit(url)
    try:
        connected = _connect(parts, private_addresses, seconds)
    except (PrivateAddress, ForbiddenPort) as error:
        return Posted(problem=str(error))
    except (OSError, ValueError) as error:
        return Posted(problem=f"no connection: {error}")
    # A timeout of the socket is for each piece that arrives, and pieces may arrive for ever.
    late = threading.Event()
    end = threading.Timer(seconds, _cut, [connected, late])
    end.start()
    try:
        posted = _exchange(connected, parts, body, headers)
        # Headers that were cut off look like headers that ended.
        return Posted(problem=f"no answer within {seconds:g} seconds") if late.is_set() else posted
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Posted(problem=f"no answer: {type(error).__name__}")
    finally:
        end.cancel()
        connected.close()


def _connect(url: SplitResult, private_addresses: bool, seconds: float) -> socket.socket:
    """To the first of the host's addresses that answers; raises OSError as the last one did."""
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    failed: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        require_web_server(str(address[0]), port, private_addresses=private_addresses)
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(seconds)
            connection.connect(address)
            if url.scheme == "https":
                return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
            return connection
        except OSError as error:
            failed = error
            connection.close()
    raise failed


def _exchange(connected: socket.socket, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> Posted:
    connection = http.client.HTTPConnection(url.hostname or "")
    connection.sock = connected
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = url.netloc
    connection.request("POST", path, body, {**headers, "Host": host, "Connection": "close"})
    status = connection.getresponse().status
    if 200 <= status < 300:
        return Posted(status)
    reason = "redirects are not followed" if 300 <= status < 400 else "not accepted"
    return Posted(status, f"{reason}: the address answered {status}")


def _cut(connected: socket.socket, late: threading.Event) -> None:
    late.set()
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed meanwhile
