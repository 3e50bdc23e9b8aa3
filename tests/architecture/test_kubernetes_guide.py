"""docs/guides/kubernetes.md: each command is run by a test, or says that it is not."""

import re

import pytest
from support.deployment import ROOT

GUIDE = (ROOT / "docs/guides/kubernetes.md").read_text()
UNTRIED = "# not tried by our tests"
LOCAL = "tests/architecture/test_kubernetes_local.py"
RENDERING = "tests/architecture/test_kubernetes_rendering.py"
TRIED = {
    "k8s/overlays/local/up kind": (LOCAL, "test_one_command_loads_every_image_of_ours_and_applies_the_overlay"),
    "k8s/overlays/local/up k3s /path/to/library gpu": (
        LOCAL,
        "test_one_command_loads_every_image_of_ours_and_applies_the_overlay",
    ),
    "k8s/overlays/local/make-secrets": (LOCAL, "test_secrets_that_are_there_stay_as_they_are"),
    "kubectl kustomize k8s/overlays/local": (RENDERING, "test_every_overlay_renders_to_valid_manifests"),
    "kubectl kustomize k8s/overlays/cluster": (RENDERING, "test_every_overlay_renders_to_valid_manifests"),
    'pg_restore --clean --if-exists --no-owner --single-transaction --dbname "$DATABASE_URL" touchstone.dump': (
        "tests/integration/test_database_backup.py",
        "test_a_dump_brings_back_what_was_there_and_nothing_that_came_later",
    ),
}
"""The test that runs a command of the guide."""


def commands() -> list[str]:
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_each_command_is_run_by_a_test_or_says_that_it_is_not() -> None:
    assert len(commands()) >= 25
    assert {command for command in commands() if not command.endswith(UNTRIED)} == set(TRIED)


@pytest.mark.parametrize(("file", "test"), sorted(set(TRIED.values())))
def test_the_tests_that_run_commands_exist(file: str, test: str) -> None:
    assert f"def {test}(" in (ROOT / file).read_text()


def test_the_guide_names_files_that_exist() -> None:
    named = set(re.findall(r"`((?:k8s|tests|monitoring)/[\w./-]+)`", GUIDE))
    assert len(named) >= 3
    assert all((ROOT / name).exists() for name in named), named
    components = set(re.findall(r"^\| `([\w-]+)`(?:, `([\w-]+)`)? \|", GUIDE, flags=re.MULTILINE))
    for name in filter(None, (each for pair in components for each in pair)):
        assert (ROOT / "k8s/components" / name).is_dir(), name
