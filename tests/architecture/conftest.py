"""The manifests of every overlay, rendered once."""

from pathlib import Path

import pytest
from support.manifests import OVERLAYS, Manifests, check_out, render_overlay


@pytest.fixture(scope="package")
def kustomize_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what kustomize reads, with fresh secrets; tests may add overlays to it."""
    return check_out(tmp_path_factory.mktemp("kustomize"))


@pytest.fixture(scope="package")
def rendered_overlays(kustomize_tree: Path) -> dict[str, Manifests]:
    return {name: render_overlay(kustomize_tree, name) for name in OVERLAYS}
