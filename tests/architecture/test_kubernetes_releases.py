"""A new tag, new secrets and new settings are applied over what is there, and every image follows the tag."""

import subprocess
from pathlib import Path

import pytest
import yaml
from support.deployment import PROCESSES
from support.manifests import OVERLAYS, Manifest, Manifests, check_out, containers, image_name, of_kind, render_overlay

MUTABLE = {
    "Job": {"parallelism", "suspend", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"},
    "StatefulSet": {"replicas", "template", "updateStrategy", "minReadySeconds"},
    "Deployment": {"replicas", "template", "strategy", "minReadySeconds", "revisionHistoryLimit", "paused"},
    "PersistentVolumeClaim": {"resources"},
    "Service": {"ports", "selector", "publishNotReadyAddresses"},
}
"""Fields of a spec that Kubernetes lets one change; it refuses a change of any other."""


def unchangeable(manifests: Manifests) -> dict[tuple[str, str], Manifest]:
    return {
        (m["kind"], m["metadata"]["name"]): {k: v for k, v in m["spec"].items() if k not in MUTABLE[m["kind"]]}
        for m in manifests
        if m["kind"] in MUTABLE
    }


def change_tag(tree: Path, overlay: str, tag: str) -> None:
    release = tree / "k8s/overlays" / overlay / "release.yaml"
    document = yaml.safe_load(release.read_text())
    document["data"]["tag"] = tag
    release.write_text(yaml.safe_dump(document))


def change_secrets(tree: Path) -> None:
    local = tree / "k8s/overlays/local"
    for path in (local / "secrets").glob("*.env"):
        path.unlink()
    subprocess.run([local / "make-secrets"], check=True, capture_output=True, timeout=60)


def change_settings(tree: Path) -> None:
    base = tree / "k8s/base/kustomization.yaml"
    document = yaml.safe_load(base.read_text())
    for generator in document["configMapGenerator"]:
        generator["literals"].append("TOUCHSTONE_LOG_FORMAT=console")
    base.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_new_release_can_be_applied_over_the_one_before(overlay: str, tmp_path: Path) -> None:
    tree = check_out(tmp_path)
    before = render_overlay(tree, overlay)
    change_secrets(tree)
    change_settings(tree)
    change_tag(tree, "cluster" if overlay == "cluster" else "local", "0.2.0")
    after = render_overlay(tree, overlay)
    old, new = unchangeable(before), unchangeable(after)
    in_both = old.keys() & new.keys()
    assert {kind for kind, _ in old} >= {"Job", "Deployment", "Service", "PersistentVolumeClaim"}
    assert len(in_both) >= 8
    for key in in_both:
        assert old[key] == new[key], f"{key} cannot be applied again"


def test_a_changed_secret_or_setting_reaches_the_processes(tmp_path: Path) -> None:
    tree = check_out(tmp_path)
    before = render_overlay(tree, "local")
    change_secrets(tree)
    change_settings(tree)
    after = render_overlay(tree, "local")
    for name in PROCESSES:
        old, new = (of_kind(each, "Deployment")[name]["spec"]["template"] for each in (before, after))
        assert old != new, f"{name} would go on with what it read at its start"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_file_decides_tag_and_registry_of_every_image_of_ours(overlay: str, tmp_path: Path) -> None:
    tree = check_out(tmp_path)
    change_tag(tree, "cluster" if overlay == "cluster" else "local", "1.2.3-rc.4")
    registry = "ghcr.io/touchstone/" if overlay == "cluster" else ""
    manifests = render_overlay(tree, overlay)
    ours = [each for _, each in containers(manifests) if image_name(each).startswith("touchstone-")]
    assert len(ours) == (9 if overlay == "cluster" else 8)
    for each in ours:
        assert each["image"] == f"{registry}{image_name(each)}:1.2.3-rc.4"
    jobs = {"catalogue", "fill-library"} if overlay == "cluster" else {"catalogue"}
    assert set(of_kind(manifests, "Job")) == {f"{name}-1.2.3-rc.4" for name in jobs}
