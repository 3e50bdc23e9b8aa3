"""Sockets for links: into public networks alone, or into any (see touchstone_runtime.addresses)."""

import socket

from aiohttp import AddrInfoType
from touchstone_runtime.addresses import require_web_server


def public_socket(address: AddrInfoType) -> socket.socket:
    """A socket for aiohttp to connect to `address` with. Raises PrivateAddress and ForbiddenPort."""
    return _socket(address, private_addresses=False)


def any_socket(address: AddrInfoType) -> socket.socket:
    """As public_socket, into any network. Raises ForbiddenPort."""
    return _socket(address, private_addresses=True)


def _socket(address: AddrInfoType, *, private_addresses: bool) -> socket.socket:
    family, kind, protocol, _, host_and_port = address
    require_web_server(str(host_and_port[0]), int(host_and_port[1]), private_addresses=private_addresses)
    return socket.socket(family=family, type=kind, proto=protocol)
