"""The two scripts of overlays/local: fresh secrets, and one command that brings the system up."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.deployment import PROCESSES, tool
from support.manifests import check_out, containers, image_name, render_overlay

RECORDER = """#!/bin/sh
echo "$(basename "$0") $*" >> "$RECORD"
case "$(basename "$0") $1" in
"kubectl kustomize") exec "$KUBECTL" "$@" ;;
"kind get") echo kind-control-plane ;;
"docker exec") cat > /dev/null ;;
"k3s ctr") cat > /dev/null ;;
esac
"""
"""Stands in for programs that need a cluster: writes down how it was called. Only kubectl's rendering is real."""
SECRETS = ("database", "index", "operator", "servers", "services", "webhooks")
PROGRAMS = ("kubectl", "kind", "minikube", "k3s", "docker")


def read_secrets(tree: Path) -> dict[str, str]:
    files = sorted((tree / "k8s/overlays/local/secrets").glob("*.env"))
    assert [path.name for path in files] == [f"{name}.env" for name in SECRETS]
    return dict(line.split("=", 1) for path in files for line in path.read_text().splitlines())


def make_secrets(tree: Path) -> str:
    script = tree / "k8s/overlays/local/make-secrets"
    return subprocess.run([script], check=True, capture_output=True, text=True, timeout=60).stdout


def test_secrets_are_random_private_and_meet_at_client_and_server(tmp_path: Path) -> None:
    first, second = (read_secrets(check_out(tmp_path / name)) for name in ("first", "second"))
    assert len(first) == 11
    assert not set(first.values()) & set(second.values())
    passwords = [value for name, value in first.items() if not name.endswith("_URL")]
    assert len(set(passwords)) == len(passwords)
    assert all(re.fullmatch("(ts_)?[A-Za-z0-9]{32}", value) for value in passwords)
    assert f":{first['POSTGRES_PASSWORD']}@postgres:5432/" in first["TOUCHSTONE_DATABASE_URL"]
    assert f":{first['VALKEY_PASSWORD']}@valkey:6379/" in first["TOUCHSTONE_REDIS_URL"]
    for path in (tmp_path / "first/k8s/overlays/local/secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_secrets_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    tree = check_out(tmp_path)
    before = read_secrets(tree)
    assert make_secrets(tree).count("is kept") == len(SECRETS)
    assert read_secrets(tree) == before


def test_a_secret_that_is_missing_fits_those_that_are_there(tmp_path: Path) -> None:
    tree = check_out(tmp_path)
    before = read_secrets(tree)
    for name in ("database.env", "index.env"):
        (tree / "k8s/overlays/local/secrets" / name).unlink()
    assert make_secrets(tree).count("is new") == 2
    after = read_secrets(tree)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"TOUCHSTONE_QDRANT_API_KEY"}


def bring_up(tree: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs `up` with stand-ins; returns its answer and the calls they saw."""
    programs, record = tree / "bin", tree / "record"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    record.touch()
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "RECORD": str(record),
        "KUBECTL": tool("kubectl"),
    }
    command = [str(tree / "k8s/overlays/local/up"), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    return answer, record.read_text().splitlines()


LOADS = {"kind": "kind load docker-image {}", "minikube": "minikube image load {}", "k3s": "docker save {}"}


@pytest.mark.parametrize("overlay", ["local", "gpu"])
@pytest.mark.parametrize("cluster", LOADS)
def test_one_command_loads_every_image_of_ours_and_applies_the_overlay(
    cluster: str, overlay: str, tmp_path: Path
) -> None:
    tree = check_out(tmp_path)
    shutil.rmtree(tree / "k8s/overlays/local/secrets")
    library, on_node = tree / "library", tree / "node/library"
    library.mkdir()
    (library / "catalogue.yaml").touch()
    volume = tree / "k8s/overlays/local/library-volume.yaml"
    volume.write_text(volume.read_text().replace("/var/lib/touchstone/library", str(on_node)))
    answer, calls = bring_up(tree, cluster, str(library), overlay)
    assert answer.returncode == 0, answer.stderr
    manifests = render_overlay(tree, overlay)
    ours = {each["image"] for _, each in containers(manifests) if image_name(each).startswith("touchstone-")}
    assert len(ours) == 7
    assert {LOADS[cluster].format(image) for image in ours} <= set(calls)
    applied = f"kubectl apply --kustomize {tree}/k8s/overlays/local/../{overlay}"
    assert calls.index(applied) > max(calls.index(LOADS[cluster].format(image)) for image in ours)
    # With k3s the node is this machine.
    assert (on_node / "catalogue.yaml").exists() == (cluster == "k3s")
    assert cluster == "k3s" or [call for call in calls if str(on_node) in call]
    waited = [call for call in calls if "rollout status" in call]
    assert [call.rsplit("/", 1)[1] for call in waited] == list(PROCESSES)


def test_an_unknown_cluster_is_refused_before_anything_is_applied(tmp_path: Path) -> None:
    tree = check_out(tmp_path)
    (tree / "library").mkdir()
    answer, calls = bring_up(tree, "openstack", str(tree / "library"))
    assert answer.returncode == 2
    assert "kind, minikube or k3s" in answer.stderr
    assert not [call for call in calls if "apply" in call]
