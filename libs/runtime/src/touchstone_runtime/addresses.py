"""Anyone may write a link or ask to be called back, also at an address inside the network that a process runs in. The
address is judged where a connection is made, so names that resolve to something else later, numbers in any notation and
redirects pass the same gate."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches it: the last 32 bits are the address."""
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that has been given out of IPv6."""
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        # Those of IANA's registries of special-purpose addresses that releases of Python judge differently or take for
        # public, and tunnels, whose far end may be anywhere.
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' networks, and those of some clouds
        "168.63.129.16/32",  # Azure's host, which answers to virtual machines only
        "192.0.0.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.175.48.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "2001::/23",  # Teredo, ORCHID and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_WEB_PORTS = (80, 443)
_SERVICE_PORTS = frozenset(
    (1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
     9200, 10080, 11211, 27017)
)  # fmt: skip
"""Above 1023, where web servers may listen too: those that browsers refuse ("bad ports" of the Fetch standard) and of
databases that take commands line by line."""


class PrivateAddress(OSError):
    """No public address of the internet."""


class ForbiddenPort(OSError):
    """A port of services that a request for a page must not reach."""


def is_public(address: str) -> bool:
    """Loopback, private, link-local, reserved, multicast and documentation ranges are not, neither where they are
    mapped into IPv6; tunnels and addresses that nobody has been given are not either."""
    found = _reached(ipaddress.ip_address(address.partition("%")[0]))
    if isinstance(found, ipaddress.IPv6Address) and found not in _UNICAST:
        return False
    return found.is_global and not found.is_multicast and not any(found in network for network in _SPECIAL)


def is_web_port(port: int) -> bool:
    return port in _WEB_PORTS or (port > 1023 and port not in _SERVICE_PORTS)


def _reached(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped or NAT64 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address
    return address


def require_web_server(address: str, port: int, *, private_addresses: bool) -> None:
    """Raises PrivateAddress, unless private networks are allowed, and ForbiddenPort."""
    if not private_addresses and not is_public(address):
        raise PrivateAddress("the link leads into a private network")
    if not is_web_port(port):
        raise ForbiddenPort(f"port {port} is none of a web server")
