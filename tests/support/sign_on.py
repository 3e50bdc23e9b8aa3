"""An OpenID provider on a port of this machine, and installations whose people log in there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from oidc_provider_mock import User, run_server_in_thread
from pydantic import SecretStr
from support.memory_services import memory_services
from touchstone_api.bootstrap import Services
from touchstone_contracts.access import Limits
from touchstone_store.projects import create_project

SECRET = "a-secret-of-the-client-0001"
PEOPLE = (
    User(sub="1", claims={"groups": ["vision", "staff"], "email": "ana@example.org", "email_verified": True}),
    User(sub="2", claims={"groups": ["staff"], "name": "Ben"}),
    User(sub="3", claims={"groups": [], "name": "Eve"}),
    User(sub="4", claims={"groups": "vision", "email": "dan@example.org", "email_verified": False}),
)
ACCESS = {"vision": "birds:write", "staff": "default:read", "ghosts": "nowhere:read"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with run_server_in_thread(user_claims=PEOPLE, require_nonce=True) as provider:
        yield f"http://localhost:{provider.server_port}"


Serve = Callable[..., Services]


@pytest.fixture
def services_with(tmp_path: Any, issuer: str) -> Serve:
    """The services of an installation whose people log in at `issuer`; other settings by name."""

    def make(**settings: Any) -> Services:
        services = memory_services(tmp_path)
        with services.store.write() as session:
            create_project(session, "birds", Limits(), datetime.now(UTC))
        chosen = {
            "oidc_issuer": issuer,
            "oidc_client_id": "touchstone",
            "oidc_client_secret": SecretStr(SECRET),
            "oidc_access": ACCESS,
        }
        return replace(services, settings=services.settings.model_copy(update=chosen | settings))

    return make
