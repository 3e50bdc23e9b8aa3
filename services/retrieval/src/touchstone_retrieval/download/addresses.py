"""Anyone may write a link, also one that leads a worker into the network it runs in. The address is judged where a
connection is made, so names that resolve to something else later and redirects pass the same gate."""

import ipaddress
import socket

from aiohttp import AddrInfoType

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddress(OSError):
    """No public address of the internet."""


def is_public(address: str) -> bool:
    """Loopback, private, link-local, reserved and multicast ranges are not, neither in IPv6's clothes."""
    found = _without_clothes(ipaddress.ip_address(address.partition("%")[0]))
    return found.is_global and not found.is_multicast


def _without_clothes(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped, 6to4 or NAT64 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def public_socket(address: AddrInfoType) -> socket.socket:
    """A socket for aiohttp to connect to `address` with. Raises PrivateAddress."""
    family, kind, protocol, _, place = address
    if not is_public(str(place[0])):
        raise PrivateAddress("the link leads into a private network")
    return any_socket((family, kind, protocol, "", place))


def any_socket(address: AddrInfoType) -> socket.socket:
    return socket.socket(family=address[0], type=address[1], proto=address[2])
