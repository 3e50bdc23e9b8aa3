"""Services meet pods, every replica is scraped, and each pod reaches what it uses and nothing else."""

from itertools import product

import yaml
from support.deployment import PROCESSES, WORKERS
from support.manifests import Manifest, Manifests, Pod, of_kind, pods
from support.network_policies import NAMESPACE, Endpoint, may_reach, selects

SERVERS = {"postgres": 5432, "valkey": 6379, "qdrant": 6333, "minio": 9000}
LISTENING = {**SERVERS, "api": 8000, "prometheus": 9090, **dict.fromkeys(("conductor", "judge", *WORKERS), 9100)}
USES = {
    "api": {"postgres", "valkey", "minio"},
    "conductor": {"postgres", "valkey", "minio"},
    "judge": {"valkey", "minio"},
    "retrieval": {"valkey", "minio", "qdrant"},
    "generator": {"valkey", "minio"},
    "trainer": {"valkey", "minio"},
    "catalogue": {"api"},
    "prometheus": set(PROCESSES),
    **{server: set() for server in SERVERS},
}
"""In overlays/local and gpu: who connects to whom."""
METRICS = 9100
PUBLIC = ("93.184.215.14", "2606:2800:21f::1")
PRIVATE = ("10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.0.1", "fd00::1")
METADATA = "169.254.169.254"
"""Where clouds give their nodes credentials."""
SERVERS_OF_CLOUD = "10.64.3.4"
DNS = Endpoint(labels={"k8s-app": "kube-dns"}, namespace="kube-system")


def asked(source: str, port: int) -> int:
    """Prometheus asks every process for its metrics."""
    return METRICS if source == "prometheus" else port


def endpoint_of(pod: Pod) -> Endpoint:
    return Endpoint(labels=pod.labels)


def ports_of(pod: Pod) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for c in pod.containers().values() for port in c.get("ports", [])}


def chosen(manifests: Manifests, service: Manifest) -> list[Pod]:
    selector = {"matchLabels": service["spec"]["selector"]}
    return [pod for pod in pods(manifests).values() if selects(selector, pod.labels)]


def test_every_service_leads_to_one_workload_and_a_port_that_it_answers(
    rendered_overlays: dict[str, Manifests],
) -> None:
    counts = {"local": 12, "gpu": 12, "cluster": 7}
    for overlay, manifests in rendered_overlays.items():
        services = of_kind(manifests, "Service")
        assert len(services) == counts[overlay]
        for name, service in services.items():
            [pod] = chosen(manifests, service)
            assert pod.name == ("api" if name == "gateway" else name)
            for port in service["spec"]["ports"]:
                assert ports_of(pod)[port["targetPort"]] == port["port"]


def test_the_small_prometheus_scrapes_every_replica_of_every_process(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay in ("local", "gpu"):
        manifests = rendered_overlays[overlay]
        scraped: set[str] = set()
        for name, port, by_dns in scrape_targets(manifests):
            service = of_kind(manifests, "Service").get(name)
            assert service is not None, name
            [pod] = chosen(manifests, service)
            assert port in ports_of(pod).values()
            assert service["spec"].get("clusterIP") == "None", f"{name} is one address for many pods"
            assert by_dns or name == "conductor", f"{name} may have replicas"
            scraped.add(pod.name)
        assert scraped == set(PROCESSES)


def scrape_targets(manifests: Manifests) -> list[tuple[str, int, bool]]:
    """Name, port, and whether each address of the name is a target."""
    [config] = [m for m in manifests if m["kind"] == "ConfigMap" and "prometheus.yml" in m["data"]]
    jobs = yaml.safe_load(config["data"]["prometheus.yml"])["scrape_configs"]
    fixed = [target.split(":") for job in jobs for each in job.get("static_configs", []) for target in each["targets"]]
    by_dns = [each for job in jobs for each in job.get("dns_sd_configs", [])]
    assert all(each["type"] == "A" for each in by_dns)
    return [(name, int(port), False) for name, port in fixed] + [
        (name, each["port"], True) for each in by_dns for name in each["names"]
    ]


def test_an_api_that_is_not_ready_is_scraped_all_the_same(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        services = of_kind(manifests, "Service")
        assert services["api"]["spec"]["publishNotReadyAddresses"] is True
        assert "clusterIP" not in services["gateway"]["spec"]


def test_the_operators_prometheus_scrapes_pods_of_every_process(rendered_overlays: dict[str, Manifests]) -> None:
    manifests = rendered_overlays["cluster"]
    scraped: list[str] = []
    for monitor in of_kind(manifests, "PodMonitor").values():
        for pod in pods(manifests).values():
            if selects(monitor["spec"]["selector"], pod.labels):
                [endpoint] = monitor["spec"]["podMetricsEndpoints"]
                assert endpoint["port"] in ports_of(pod)
                scraped.append(pod.name)
    assert sorted(scraped) == sorted(PROCESSES)
    operator = Endpoint(namespace="monitoring")
    for pod in pods(manifests).values():
        assert may_reach(manifests, operator, endpoint_of(pod), METRICS) == (pod.name in PROCESSES)


def test_pods_reach_the_pods_they_use_and_no_others(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay in ("local", "gpu"):
        manifests = rendered_overlays[overlay]
        found = pods(manifests)
        assert set(found) == set(USES)
        reached = {
            source: {
                target
                for target, port in LISTENING.items()
                if target != source
                and may_reach(manifests, endpoint_of(found[source]), endpoint_of(found[target]), asked(source, port))
            }
            for source in found
        }
        assert reached == USES
        pairs = product(map(endpoint_of, found.values()), repeat=2)
        assert not any(may_reach(manifests, source, target, 22) for source, target in pairs)


def test_every_pod_asks_the_cluster_for_names(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        for pod in pods(manifests).values():
            assert may_reach(manifests, endpoint_of(pod), DNS, 53, "UDP"), pod.name
            assert may_reach(manifests, endpoint_of(pod), Endpoint(address="169.254.20.10"), 53, "UDP"), pod.name
            assert not may_reach(manifests, endpoint_of(pod), Endpoint(address="8.8.8.8"), 53, "UDP"), pod.name


def test_workers_with_models_and_webhooks_reach_the_internet_and_no_private_network(
    rendered_overlays: dict[str, Manifests],
) -> None:
    for overlay in ("local", "gpu"):
        manifests = rendered_overlays[overlay]
        for name, pod in pods(manifests).items():
            for address in PUBLIC:
                assert may_reach(manifests, endpoint_of(pod), Endpoint(address=address), 443) == (
                    name in {*WORKERS, "conductor"}
                ), name
                assert may_reach(manifests, endpoint_of(pod), Endpoint(address=address), 80) == (name == "retrieval"), (
                    name
                )
                assert not may_reach(manifests, endpoint_of(pod), Endpoint(address=address), 25), name
            for address in (*PRIVATE, METADATA, SERVERS_OF_CLOUD):
                assert not reachable_at(manifests, pod, address), (name, address)


def reachable_at(manifests: Manifests, pod: Pod, address: str) -> set[int]:
    outside = Endpoint(address=address)
    return {port for port in (80, 443, *SERVERS.values()) if may_reach(manifests, endpoint_of(pod), outside, port)}


def test_in_a_cluster_each_pod_reaches_its_servers_in_their_network(rendered_overlays: dict[str, Manifests]) -> None:
    manifests = rendered_overlays["cluster"]
    expected = {
        "api": {5432, 6379, 443},
        "conductor": {5432, 6379, 443},
        "judge": {6379, 443},
        "retrieval": {6379, 6333, 443},
        "generator": {6379, 443},
        "trainer": {6379, 443},
        "backup": {5432, 443},
        "scrub": {5432, 443},
        "fill-library": {443},
        "catalogue": set(),
    }
    found = pods(manifests)
    assert {name: reachable_at(manifests, pod, SERVERS_OF_CLOUD) for name, pod in found.items()} == expected
    for name, pod in found.items():
        for address in (*PRIVATE, METADATA):
            assert not reachable_at(manifests, pod, address), (name, address)


def test_other_namespaces_reach_what_they_are_there_for(rendered_overlays: dict[str, Manifests]) -> None:
    manifests = rendered_overlays["cluster"]
    expected = {"keda": {"conductor"}, "traefik": {"api"}, "default": set(), "touchstone-data": set()}
    for namespace, targets in expected.items():
        assert namespace != NAMESPACE
        reached = {
            name
            for name, pod in pods(manifests).items()
            if may_reach(manifests, Endpoint(namespace=namespace), endpoint_of(pod), LISTENING.get(name, 443))
        }
        assert reached == targets, namespace


def test_the_ingress_encrypts_and_leads_to_the_api_which_knows_its_host(
    rendered_overlays: dict[str, Manifests],
) -> None:
    manifests = rendered_overlays["cluster"]
    [ingress] = of_kind(manifests, "Ingress").values()
    [rule] = ingress["spec"]["rules"]
    [tls] = ingress["spec"]["tls"]
    assert tls["hosts"] == [rule["host"]]
    [path] = rule["http"]["paths"]
    service = of_kind(manifests, "Service")[path["backend"]["service"]["name"]]
    assert [pod.name for pod in chosen(manifests, service)] == ["api"]
    assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    [settings] = [m["data"] for m in manifests if m["kind"] == "ConfigMap" and "TOUCHSTONE_TRUSTED_HOSTS" in m["data"]]
    assert rule["host"] in settings["TOUCHSTONE_TRUSTED_HOSTS"].split(",")
