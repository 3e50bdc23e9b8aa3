"""An api without servers, fresh for every test."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.memory_services import api_client, memory_services
from touchstone_api.bootstrap import Services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return memory_services(tmp_path)


@pytest.fixture
def api(services: Services) -> TestClient:
    return api_client(services, raise_server_exceptions=False)
