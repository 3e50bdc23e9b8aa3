"""A container engine for the whole folder; the images with PyTorch on demand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.composed import Tell
from support.deployment import ROOT
from support.engine import Engine, NoEngine, running_engine
from support.servers import server_missing


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Gigabytes and many minutes: `make containers` asks for them."""
    asked: bool = config.getoption("--every-image")
    return True if collection_path.name == "test_every_image.py" and not asked else None


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Tell:
    """Prints facts to the log of the run, whether or not output is captured: what was built, and how large it is."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(**facts: object) -> None:
        with capture.global_and_fixture_disabled():
            print("".join(f"\n  {name.replace('_', ' ')}: {fact}" for name, fact in facts.items()), flush=True)

    return say


@pytest.fixture(scope="session")
def engine(tell: Tell) -> Iterator[Engine]:
    try:
        with running_engine(ROOT / ".touchstone/engine") as engine:
            tell(container_engine=engine.version())
            yield engine
    except NoEngine as error:
        server_missing(str(error))
