"""A container engine for the whole folder."""

from collections.abc import Iterator

import pytest
from support.deployment import ROOT
from support.engine import Engine, NoEngine, running_engine
from support.servers import server_missing


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with running_engine(ROOT / ".touchstone/engine") as engine:
            print(f"\ncontainer engine {engine.version()}", flush=True)
            yield engine
    except NoEngine as error:
        server_missing(str(error))
