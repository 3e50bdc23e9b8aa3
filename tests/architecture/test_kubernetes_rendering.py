"""Every overlay and every combination of components renders, and what comes out is strictly valid, in every kind."""

import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, combinations
from pathlib import Path

import pytest
import yaml
from support.custom_resources import InvalidManifest, validate
from support.deployment import PROCESSES, ROOT
from support.manifests import (
    COMPONENTS,
    OVERLAYS,
    RENDERED_ONCE,
    Manifests,
    check_out,
    of_kind,
    pods,
    render_components,
    render_overlay,
)

CLUSTER_WIDE = {"Namespace", "PersistentVolume"}
EXCLUSIVE = {"prometheus", "monitoring"}
"""Two ways of scraping: one or the other."""
LAST = ("release", "registry")
"""No overlay is without the first; overlays/local has no registry."""


def every_combination() -> list[tuple[str, ...]]:
    others = [name for name in COMPONENTS if name not in LAST]
    subsets = chain.from_iterable(combinations(others, size) for size in range(len(others) + 1))
    return [(*names, *LAST) for names in subsets if not set(names) >= EXCLUSIVE]


def check(manifests: Manifests, origin: object) -> None:
    for manifest in manifests:
        validate(manifest, origin)
    names = Counter((m["apiVersion"], m["kind"], m["metadata"]["name"]) for m in manifests)
    assert max(names.values()) == 1, origin
    namespaces = {m["metadata"].get("namespace") for m in manifests if m["kind"] not in CLUSTER_WIDE}
    assert namespaces == {"touchstone"}, origin


def test_every_manifest_is_valid_before_rendering() -> None:
    documents = [
        (path, document)
        for path in (ROOT / "k8s").rglob("*.yaml")
        if path.name not in {"kustomization.yaml", "names.yaml"} and not path.name.endswith(".values.yaml")
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] != "ScaledJob"
    ]
    assert len(documents) >= 50
    for path, document in documents:
        validate(document, path)


def test_the_tests_know_every_overlay_and_component() -> None:
    assert {path.parent.name for path in ROOT.glob("k8s/overlays/*/kustomization.yaml")} == set(OVERLAYS)
    assert {path.parent.name for path in ROOT.glob("k8s/components/*/kustomization.yaml")} == {
        *COMPONENTS,
        *RENDERED_ONCE,
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_renders_to_valid_manifests(rendered_overlays: dict[str, Manifests], overlay: str) -> None:
    assert len(rendered_overlays[overlay]) >= 45
    check(rendered_overlays[overlay], overlay)


def test_every_combination_of_components_renders_to_valid_manifests(kustomize_tree: Path) -> None:
    combined = every_combination()
    assert len(combined) == 2**7 * 3
    with ThreadPoolExecutor(max_workers=2) as threads:
        rendered = list(threads.map(partial(render_components, kustomize_tree), combined))
    for names, manifests in zip(combined, rendered, strict=True):
        check(manifests, names)
    assert min(map(len, rendered)) >= 20


@pytest.mark.parametrize(
    "names", [("authority", *LAST), ("servers", "scrub", "monitoring", "gpu", "authority", "autoscaling", *LAST)]
)
def test_every_process_of_ours_reads_the_certificates_of_an_own_authority(
    kustomize_tree: Path, names: tuple[str, ...]
) -> None:
    manifests = render_components(kustomize_tree, names)
    check(manifests, names)
    maps = of_kind(manifests, "ConfigMap")
    [certificates] = [name for name in maps if name.startswith("authority-")]
    [settings] = [data["data"] for name, data in maps.items() if re.fullmatch(r"settings-\w+", name)]
    ours = {name: pod for name, pod in pods(manifests).items() if name in {*PROCESSES, "scrub"}}
    assert len(ours) == len(PROCESSES) + ("scrub" in names)
    for name, pod in ours.items():
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        assert volumes["authority"]["configMap"]["name"] == certificates, name
        for container in pod.containers().values():
            [folder] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "authority"]
            own = {each["name"]: each.get("value") for each in container.get("env", [])}
            assert own.get("TOUCHSTONE_CA_FILE", settings["TOUCHSTONE_CA_FILE"]) == f"{folder}/ca.crt", name
    assert "TOUCHSTONE_CA_FILE" in {each["name"] for each in ours["api"].containers()["migrate"]["env"]}


def test_what_decides_the_release_is_not_applied(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        assert not [m for m in manifests if m["metadata"]["name"].startswith("release")]


def test_an_overlay_without_its_secrets_does_not_render(tmp_path: Path) -> None:
    tree = check_out(tmp_path)
    (tree / "k8s/overlays/local/secrets/services.env").unlink()
    with pytest.raises(AssertionError, match=r"services\.env"):
        render_overlay(tree, "local")


def test_no_secret_is_committed() -> None:
    files = subprocess.run(["git", "ls-files", "k8s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(files.split()) >= 40
    assert not [name for name in files.split() if name.endswith(".env")]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("ScaledJob", {"spec": {"jobTargetRef": {}, "triggers": [], "maxReplicas": 40}}),
        ("ScaledJob", {"spec": {"jobTargetRef": {"template": {"spec": {"container": []}}}, "triggers": []}}),
        ("ScaledJob", {"spec": {"jobTargetRef": {}}}),
        ("PodMonitor", {"spec": {"selector": {}, "endpoints": []}}),
        ("ExternalSecret", {"spec": {"secretStoreRef": {"kind": "Store", "name": "x"}, "target": {}, "data": []}}),
        ("NetworkPolicy", {"spec": {"podSelector": {}, "egres": []}}),
        ("Unheard", {}),
    ],
)
def test_a_wrong_field_or_an_unknown_kind_is_found(kind: str, wrong: dict[str, object]) -> None:
    versions = {
        "ScaledJob": "keda.sh/v1alpha1",
        "PodMonitor": "monitoring.coreos.com/v1",
        "ExternalSecret": "external-secrets.io/v1",
        "NetworkPolicy": "networking.k8s.io/v1",
        "Unheard": "example.org/v1",
    }
    with pytest.raises(InvalidManifest, match=kind):
        validate({"apiVersion": versions[kind], "kind": kind, "metadata": {"name": "x"}, **wrong}, "a test")
