"""The worker's bootstrap."""

from pathlib import Path

import pytest
from touchstone_generator.settings import GeneratorSettings
from touchstone_generator.tasks import handlers
from touchstone_generator.worker import build_tools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects


def test_every_contract_of_the_queue_is_served() -> None:
    handlers.require_complete()
    assert set(handlers.by_kind) == {
        "write_prompts",
        "write_captions",
        "collect_captions",
        "tune_generator",
        "generate_images",
        "perturb_images",
    }


def test_tools_are_built_without_loading_a_model_or_reaching_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOUCHSTONE_LIBRARY", str(tmp_path))
    monkeypatch.setenv("TOUCHSTONE_DEVICE", "cpu")
    artifacts = Artifacts(MemoryObjects())

    assert build_tools(GeneratorSettings(), artifacts).artifacts is artifacts
