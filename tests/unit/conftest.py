"""An api without servers, fresh for every test."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.memory_services import memory_services
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return memory_services(tmp_path)


@pytest.fixture
def api(services: Services) -> TestClient:
    return TestClient(create_app(services), raise_server_exceptions=False)
