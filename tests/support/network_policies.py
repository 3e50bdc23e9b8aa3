"""Who may reach whom, as NetworkPolicies say it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Literal

from support.manifests import Manifest, Manifests

NAMESPACE = "touchstone"
Direction = Literal["ingress", "egress"]


@dataclass(frozen=True)
class Endpoint:
    """A pod, or an address outside of the cluster."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = NAMESPACE
    address: str = ""


def may_reach(manifests: Manifests, source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies at both ends let a connection pass."""
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    return _passes(policies, "egress", source, target, (port, protocol)) and _passes(
        policies, "ingress", target, source, (port, protocol)
    )


def _passes(policies: Manifests, direction: Direction, here: Endpoint, there: Endpoint, port: tuple[int, str]) -> bool:
    """A pod that no policy of this direction selects is open; else some rule must allow it."""
    if here.namespace != NAMESPACE or here.address:
        return True
    chosen = [p for p in policies if direction.title() in p["policyTypes"] and selects(p["podSelector"], here.labels)]
    rules = [rule for policy in chosen for rule in policy.get(direction, [])]
    return not chosen or any(_allows(rule, direction, there, port) for rule in rules)


def _allows(rule: Manifest, direction: Direction, there: Endpoint, port: tuple[int, str]) -> bool:
    ports = [(each["port"], each.get("protocol", "TCP")) for each in rule.get("ports", [])]
    peers = rule.get("to" if direction == "egress" else "from", [])
    return (not ports or port in ports) and (not peers or any(_is(peer, there) for peer in peers))


def _is(peer: Manifest, endpoint: Endpoint) -> bool:
    if "ipBlock" in peer:
        return bool(endpoint.address) and _within(peer["ipBlock"], endpoint.address)
    if endpoint.address:
        return False
    if "namespaceSelector" not in peer:
        return endpoint.namespace == NAMESPACE and selects(peer["podSelector"], endpoint.labels)
    here = {"kubernetes.io/metadata.name": endpoint.namespace}
    return selects(peer["namespaceSelector"], here) and selects(peer.get("podSelector", {}), endpoint.labels)


def _within(block: Manifest, address: str) -> bool:
    return _in_any([block["cidr"]], address) and not _in_any(block.get("except", []), address)


def _in_any(networks: Iterable[str], address: str) -> bool:
    return any(ip_address(address) in ip_network(network) for network in networks)


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """An empty selector selects everything."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _matches(expression, labels) for expression in selector.get("matchExpressions", [])
    )


def _matches(expression: Manifest, labels: dict[str, str]) -> bool:
    assert expression["operator"] == "In"
    return labels.get(expression["key"]) in expression["values"]
