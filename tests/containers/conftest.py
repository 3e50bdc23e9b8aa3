"""A container engine for the whole folder; the images with PyTorch on demand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.deployment import ROOT
from support.engine import Engine, NoEngine, running_engine
from support.servers import server_missing


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Gigabytes and many minutes: `make containers` asks for them."""
    asked: bool = config.getoption("--every-image")
    return True if collection_path.name == "test_every_image.py" and not asked else None


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with running_engine(ROOT / ".touchstone/engine") as engine:
            print(f"\ncontainer engine {engine.version()}", flush=True)
            yield engine
    except NoEngine as error:
        server_missing(str(error))
