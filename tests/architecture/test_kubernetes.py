"""The manifests, rendered by kustomize as shipped in kubectl and validated strictly, without a cluster."""

from collections import Counter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.deployment import (
    DOCKERFILES,
    OVERLAYS,
    ROOT,
    Dockerfile,
    compose_services,
    kubectl,
    pod_template,
    render_overlay,
)
from support.processes import SETTINGS, variables

KUBERNETES = "1.34"
"""Validated against the schemas of this version; nothing newer than apps/v1, batch/v1 and policy/v1 is used."""

Manifests = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifests]:
    if kubectl() is None:
        # No package of Debian or PyPI brings a kubectl that knows components.
        pytest.skip("kubectl is not installed")
    folder = tmp_path_factory.mktemp("kustomize")
    return {name: render_overlay(name, folder) for name in OVERLAYS}


def workloads(manifests: Manifests) -> dict[str, dict[str, Any]]:
    """Pod templates by name of their Deployment, StatefulSet or Job."""
    found = {m["metadata"]["name"]: template for m in manifests if (template := pod_template(m))}
    assert len(found) == 13
    return found


def containers(manifests: Manifests) -> dict[str, dict[str, Any]]:
    return {name: template["spec"]["containers"][0] for name, template in workloads(manifests).items()}


def test_every_manifest_is_valid_before_rendering() -> None:
    documents = [
        (path, document)
        for folder in ("base", "components", "overlays")
        for path in (ROOT / "k8s" / folder).rglob("*.yaml")
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]
    assert len(documents) >= 30
    for path, document in documents:
        validate(document, path)


def validate(document: dict[str, Any], place: object) -> None:
    """Unknown fields and kinds without a schema are failures."""
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        pytest.fail(f"{place}: {document['kind']} {document['metadata']['name']}: {error.message}")
    except kubernetes_validate.SchemaNotFoundError as error:
        pytest.fail(f"{place}: {error.message}")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_renders_to_valid_manifests(rendered: dict[str, Manifests], overlay: str) -> None:
    manifests = rendered[overlay]
    assert len(manifests) >= 40
    for document in manifests:
        validate(document, overlay)
    names = Counter((m["kind"], m["metadata"]["name"]) for m in manifests)
    assert max(names.values()) == 1


def test_everything_lives_in_one_namespace(rendered: dict[str, Manifests]) -> None:
    cluster_wide = {"Namespace", "PersistentVolume"}
    for manifests in rendered.values():
        namespaces = {m["metadata"].get("namespace") for m in manifests if m["kind"] not in cluster_wide}
        assert namespaces == {"touchstone"}


def test_every_pod_runs_unprivileged_on_a_read_only_root(rendered: dict[str, Manifests]) -> None:
    for manifests in rendered.values():
        for name, template in workloads(manifests).items():
            pod, [container] = template["spec"], template["spec"]["containers"]
            assert pod["automountServiceAccountToken"] is False, name
            assert pod["securityContext"]["runAsNonRoot"] is True, name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"], name
            assert container["resources"]["limits"]["memory"], name


def test_every_long_running_container_is_probed(rendered: dict[str, Manifests]) -> None:
    seen = 0
    for manifests in rendered.values():
        for manifest in manifests:
            if manifest["kind"] in {"Deployment", "StatefulSet"}:
                [container] = manifest["spec"]["template"]["spec"]["containers"]
                assert "livenessProbe" in container
                seen += 1
    assert seen == 20


def test_every_reference_to_a_secret_or_setting_is_answered(rendered: dict[str, Manifests]) -> None:
    for manifests in rendered.values():
        data = {
            m["metadata"]["name"]: set(m.get("data", {})) for m in manifests if m["kind"] in {"Secret", "ConfigMap"}
        }
        asked = [(name, reference) for name, c in containers(manifests).items() for reference in references(c)]
        assert len(asked) >= 20
        for name, (source, key) in asked:
            assert source in data, (name, source)
            assert key is None or key in data[source], (name, source, key)


def references(container: dict[str, Any]) -> list[tuple[str, str | None]]:
    whole = [next(iter(each.values()))["name"] for each in container.get("envFrom", [])]
    keys = [each["valueFrom"]["secretKeyRef"] for each in container.get("env", []) if "valueFrom" in each]
    return [(name, None) for name in whole] + [(key["name"], key["key"]) for key in keys]


def environment(container: dict[str, Any], manifests: Manifests) -> set[str]:
    """Names of all variables of a container, its image's included."""
    data = {m["metadata"]["name"]: set(m.get("data", {})) for m in manifests if m["kind"] in {"Secret", "ConfigMap"}}
    image = container["image"].split(":")[0]
    of_image = Dockerfile.read(DOCKERFILES[image]).environment() if image in DOCKERFILES else {}
    sources = [next(iter(each.values()))["name"] for each in container.get("envFrom", [])]
    named = {each["name"] for each in container.get("env", [])}
    return named.union(of_image, *(data[source] for source in sources))


def test_every_variable_of_ours_is_read_by_the_process_that_gets_it(rendered: dict[str, Manifests]) -> None:
    for manifests in rendered.values():
        found = containers(manifests)
        assert set(SETTINGS) <= set(found)
        for process in SETTINGS:
            given = {name for name in environment(found[process], manifests) if name.startswith("TOUCHSTONE_")}
            assert given <= variables(process), process
            assert given


def test_processes_get_the_same_variables_as_in_compose(rendered: dict[str, Manifests]) -> None:
    """A setting that compose passes on and Kubernetes forgets would be found at night."""
    by_choice = {"TOUCHSTONE_THREADS", "TOUCHSTONE_MIGRATE_ON_START"}
    # Nobody's default: an overlay that knows its prices adds them to the ConfigMap `settings`.
    by_choice |= {"TOUCHSTONE_CPU_HOUR_PRICE", "TOUCHSTONE_GPU_HOUR_PRICE"}
    found, services = containers(rendered["local"]), compose_services("cpu")
    for process in ("api", "conductor", "retrieval", "generator", "trainer"):
        image = Dockerfile.read(DOCKERFILES[found[process]["image"].split(":")[0]]).environment()
        in_cluster = environment(found[process], rendered["local"]) - set(image)
        in_compose = set(services[process]["environment"]) - set(image)
        assert in_cluster ^ in_compose <= by_choice, process


def test_images_and_commands_are_those_of_compose(rendered: dict[str, Manifests]) -> None:
    services = compose_services("cpu")
    for manifests in rendered.values():
        found = containers(manifests)
        assert set(found) == set(services) | {"migrate"}
        for name, service in services.items():
            assert found[name]["image"].removesuffix("-unprivileged") == service["image"], name
        for name in ("api", "conductor", "retrieval", "generator", "trainer"):
            assert found[name].get("command") == services[name].get("command"), name


def test_ports_and_selectors_meet_a_pod(rendered: dict[str, Manifests]) -> None:
    for manifests in rendered.values():
        templates = workloads(manifests)
        services = [m for m in manifests if m["kind"] == "Service"]
        assert len(services) == 10
        for service in services:
            chosen = select(templates, service["spec"]["selector"])
            assert list(chosen) == [service["metadata"]["name"]]
            [template] = chosen.values()
            ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
            for port in service["spec"]["ports"]:
                assert ports[port["targetPort"]] == port["port"]


def select(templates: dict[str, dict[str, Any]], selector: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {name: t for name, t in templates.items() if selector.items() <= t["metadata"]["labels"].items()}


def test_network_policies_name_pods_that_exist_and_let_only_these_in(rendered: dict[str, Manifests]) -> None:
    allowed = {
        "postgres": {"api", "conductor", "migrate"},
        "valkey": {"api", "conductor", "retrieval", "generator", "trainer"},
        "qdrant": {"retrieval"},
        "minio": {"api", "conductor", "retrieval", "generator", "trainer", "bucket"},
        "metrics": {"prometheus"},
    }
    for manifests in rendered.values():
        templates = workloads(manifests)
        policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
        assert set(policies) == {*allowed, "api", "closed-by-default"}
        assert policies["closed-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
        for name, clients in allowed.items():
            assert select(templates, policies[name]["podSelector"]["matchLabels"]), name
            [rule] = policies[name]["ingress"]
            [source] = rule["from"]
            assert set(select(templates, source["podSelector"]["matchLabels"])) == clients, name


def test_the_gpu_overlay_gives_each_worker_a_gpu(rendered: dict[str, Manifests]) -> None:
    for overlay, manifests in rendered.items():
        for name in ("retrieval", "generator", "trainer"):
            limits = containers(manifests)[name]["resources"]["limits"]
            assert ("nvidia.com/gpu" in limits) == (overlay == "gpu")


def test_secrets_are_examples_only() -> None:
    files = list((ROOT / "k8s").rglob("*.env.example"))
    assert len(files) == 4
    values = [line.split("=", 1)[1] for path in files for line in lines_of(path)]
    assert len(values) >= 8
    assert all("CHANGE_ME" in value for value in values)


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_prometheus_is_configured_as_in_compose() -> None:
    here = ROOT / "k8s/components/prometheus/prometheus.yml"
    assert here.read_text() == (ROOT / "monitoring/prometheus.yml").read_text()
