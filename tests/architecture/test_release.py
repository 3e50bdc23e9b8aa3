"""The release workflow: it cannot run here, but it is valid and names every image that is built."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from support.deployment import IMAGES, ROOT, compose_services, tool

WORKFLOW = ROOT / ".github/workflows/release.yml"


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return document


def test_it_follows_the_schema_of_workflows() -> None:
    answer = subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(WORKFLOW)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stdout


def test_it_builds_every_image_under_the_release_and_pushes_only_what_was_tested(workflow: dict[str, Any]) -> None:
    images = workflow["jobs"]["images"]
    assert images["needs"] == "test"
    asked = [name for each in images["strategy"]["matrix"]["include"] for name in each["services"].split(",")]
    services = compose_services("cpu") | compose_services("gpu")
    built = {service["image"].split(":")[0] for name, service in services.items() if name in asked}
    assert built == set(IMAGES)
    assert len(asked) == len(IMAGES) == 10
    assert all(services[name].get("build") for name in asked)


def test_it_publishes_what_is_in_an_image_and_how_it_was_built(workflow: dict[str, Any]) -> None:
    [bake] = [step for step in workflow["jobs"]["images"]["steps"] if "bake-action" in step.get("uses", "")]
    assert bake["with"]["push"] is True
    assert bake["with"]["sbom"] is True
    assert bake["with"]["provenance"] == "mode=max"


def test_it_may_do_no_more_than_it_needs(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in workflow["jobs"]["test"]
    assert workflow["jobs"]["images"]["permissions"]["packages"] == "write"
    used = set(re.findall(r"secrets\.(\w+)", WORKFLOW.read_text()))
    assert used == {"GITHUB_TOKEN"}
