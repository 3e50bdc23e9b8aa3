"""The manifests of k8s/ as data, rendered by kustomize as kubectl ships it, without a cluster."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from support.deployment import ROOT, tool

Manifest = dict[str, Any]
Manifests = list[Manifest]

OVERLAYS = ("local", "gpu", "cluster")
COMPONENTS = (
    "servers",
    "library-from-bucket",
    "catalogue",
    "backup",
    "scrub",
    "prometheus",
    "monitoring",
    "gpu",
    "autoscaling",
    "release",
    "registry",
)
"""In the order in which an overlay may name them."""
RENDERED_ONCE = ("authority",)
"""Those that are not combined with every other: each would double the combinations."""
SHARED = ("k8s", "monitoring")
"""The folders that kustomize reads."""

_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "ScaledJob": ("spec", "jobTargetRef", "template"),
}
_RELEASE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "release", "annotations": {"config.kubernetes.io/local-config": "true"}},
    "data": {"registry": "registry.example.org:5000/team", "tag": "0.0.1"},
}
_SECRETS = {
    "services": ("TOUCHSTONE_REDIS_URL", "TOUCHSTONE_S3_ACCESS_KEY", "TOUCHSTONE_S3_SECRET_KEY"),
    "database": ("TOUCHSTONE_DATABASE_URL",),
    "index": ("TOUCHSTONE_QDRANT_API_KEY",),
    "operator": ("TOUCHSTONE_OPERATOR_KEY",),
    "webhooks": ("TOUCHSTONE_WEBHOOK_KEY",),
    "servers": ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
}


@dataclass(frozen=True)
class Pod:
    """What a workload starts: `name` is the workload's, without the tag that a Job carries."""

    name: str
    kind: str
    template: Manifest

    @property
    def spec(self) -> Manifest:
        spec: Manifest = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.template["metadata"]["labels"]
        return labels

    def containers(self) -> dict[str, Manifest]:
        """All of them by name, init containers included."""
        return {c["name"]: c for c in [*self.spec.get("initContainers", []), *self.spec["containers"]]}


def check_out(folder: Path) -> Path:
    """A copy of what kustomize reads, below `folder`, with fresh secrets for overlays/local."""
    for name in SHARED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([folder / "k8s/overlays/local/make-secrets"], check=True, capture_output=True, timeout=60)
    return folder


def render(folder: Path) -> Manifests:
    """The manifests of the kustomization in `folder`."""
    # It ends before its garbage matters: a third of its time.
    environment = os.environ | {"GOGC": "off"}
    answer = subprocess.run(
        [tool("kubectl"), "kustomize", folder], env=environment, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    assert not answer.stderr, answer.stderr
    return [json.loads(_as_json(document)) for document in answer.stdout.split("\n---\n")]


@cache
def _as_json(document: str) -> str:
    """Most documents come out of every kustomization as they are, and JSON is read 20 times as fast."""
    return json.dumps(yaml.load(document, yaml.CSafeLoader))


def render_overlay(tree: Path, name: str) -> Manifests:
    return render(tree / "k8s/overlays" / name)


def render_components(tree: Path, names: Sequence[str]) -> Manifests:
    """The base with some components, as an overlay of a user would have them."""
    folder = tree / "k8s/overlays" / "-".join(("with", *names))
    folder.mkdir(exist_ok=True)
    (folder / "release.yaml").write_text(yaml.safe_dump(_RELEASE))
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(_overlay_of(names)))
    return render(folder)


def _overlay_of(names: Sequence[str]) -> Manifest:
    certificates = [{"name": "authority", "literals": ["ca.crt=example"]}] if "authority" in names else []
    return {
        "configMapGenerator": certificates,
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "touchstone",
        "resources": ["../../base", "release.yaml"],
        "components": [f"../../components/{name}" for name in names],
        "secretGenerator": [
            {"name": name, "literals": [f"{key}=example" for key in keys]} for name, keys in _SECRETS.items()
        ],
    }


def pods(manifests: Manifests) -> dict[str, Pod]:
    """By the name of their workload."""
    found = [Pod(_name_without_tag(m), m["kind"], _template(m)) for m in manifests if m["kind"] in _TEMPLATES]
    assert len({pod.name for pod in found}) == len(found)
    return {pod.name: pod for pod in found}


def _name_without_tag(manifest: Manifest) -> str:
    name: str = manifest["metadata"]["name"]
    if manifest["kind"] != "Job":
        return name
    return str(manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"])


def _template(manifest: Manifest) -> Manifest:
    for key in _TEMPLATES[manifest["kind"]]:
        manifest = manifest[key]
    return manifest


def containers(manifests: Manifests) -> Iterator[tuple[Pod, Manifest]]:
    """Every container of every pod, init containers included."""
    for pod in pods(manifests).values():
        for container in pod.containers().values():
            yield pod, container


def container(manifests: Manifests, name: str) -> Manifest:
    """The one container of this name."""
    [found] = [c for _, c in containers(manifests) if c["name"] == name]
    return found


def image_name(container: Manifest) -> str:
    """Without registry and tag."""
    return str(container["image"].rsplit("/", 1)[-1].split(":")[0])


def of_kind(manifests: Manifests, kind: str) -> dict[str, Manifest]:
    """By name."""
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def keys_of_sources(manifests: Manifests) -> dict[str, set[str]]:
    """Of each ConfigMap and Secret, also of those that External Secrets makes. Both kinds may share a name."""
    found: dict[str, set[str]] = {}
    for manifest in manifests:
        name, keys = manifest["metadata"]["name"], set(manifest.get("data", {}))
        if manifest["kind"] == "ExternalSecret":
            name, keys = manifest["spec"]["target"]["name"], {e["secretKey"] for e in manifest["spec"]["data"]}
        elif manifest["kind"] not in {"ConfigMap", "Secret"}:
            continue
        kind = "ConfigMap" if manifest["kind"] == "ConfigMap" else "Secret"
        found[f"{kind}/{name}"] = keys
    return found


def sources(container: Manifest) -> list[tuple[str, str | None]]:
    """`Kind/name` of each ConfigMap and Secret that an environment comes from, and the key where one is named. Without
    those that may be missing."""
    whole = [
        (_source(*each), None)
        for entry in container.get("envFrom", [])
        for each in entry.items()
        if not each[1].get("optional")
    ]
    single = [
        (_source(*each), str(each[1]["key"]))
        for entry in container.get("env", [])
        for each in entry.get("valueFrom", {}).items()
    ]
    return [*whole, *single]


def _source(how: str, reference: Manifest) -> str:
    return f"{'Secret' if how.startswith('secret') else 'ConfigMap'}/{reference['name']}"
