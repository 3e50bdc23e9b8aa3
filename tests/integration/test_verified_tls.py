"""Redis, Celery's broker, the object store, Postgres and Qdrant over TLS: whom nobody vouches for is not spoken to.

Each is tried with certificates of an unknown authority, of the right one, and of the right one for another host."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import trustme
from pydantic import SecretStr
from qdrant_client.http.exceptions import ResponseHandlingException
from sqlalchemy import make_url
from support.answering import answering
from support.tls import LOOPBACK, Target, TlsProxy
from touchstone_contracts.messages import StepMessage
from touchstone_contracts.problems import Transient
from touchstone_retrieval.index.qdrant_server import connect_server
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.presence import connect_presence
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.redis_connections import connect_redis
from touchstone_runtime.reports import connect_reports
from touchstone_runtime.settings import RuntimeSettings
from touchstone_store.database import open_store

DATABASE_HOST = "database.example"
"""Resolved by hostaddr: Postgres of this machine needs no TLS."""

Proxied = Callable[..., TlsProxy]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def proxied(authority: trustme.CA) -> Iterator[Proxied]:
    """A proxy before a server, with a certificate of ours for `host`."""
    with ExitStack() as stack:

        def before(target: Target, *, host: str = LOOPBACK, postgres: bool = False) -> TlsProxy:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(context)
            return stack.enter_context(TlsProxy(target, context, postgres))

        yield before


@pytest.fixture
def secured_valkey(valkey_url: str, proxied: Proxied) -> Callable[..., str]:
    """`rediss://` URL of the session's Valkey behind a proxy."""

    def url(host: str = LOOPBACK) -> str:
        plain = make_url(valkey_url)
        assert plain.host is not None
        assert plain.port is not None
        proxy = proxied((plain.host, plain.port), host=host)
        return f"rediss://:{plain.password}@{LOOPBACK}:{proxy.port}/0"

    return url


MESSAGE = StepMessage(step_id="0" * 64, attempt=1, kind="tls_test", version=1, request={})
ASK_REDIS: dict[str, Callable[[str, Path | None], object]] = {
    "client": lambda url, ca: connect_redis(url, ca).ping(),
    "reports": lambda url, ca: connect_reports(url, ca).is_unwanted("0" * 64, 1),
    "presence": lambda url, ca: connect_presence(url, ca).live(),
    "broker's list": lambda url, ca: CeleryDispatcher(celery_app(url, ca)).waiting("tls_test.1"),
    "broker's messages": lambda url, ca: CeleryDispatcher(celery_app(url, ca)).send(MESSAGE),
}


@pytest.mark.parametrize("asked", ASK_REDIS)
def test_redis_is_verified(secured_valkey: Callable[..., str], ca_file: Path, asked: str) -> None:
    ask, url = ASK_REDIS[asked], secured_valkey()
    ask(url, ca_file)
    # Each by a proxy of its own: kombu keeps connections of one address for the whole process.
    with pytest.raises((redis.ConnectionError, Transient)) as unknown:
        ask(secured_valkey(), None)
    with pytest.raises((redis.ConnectionError, Transient)) as of_another:
        ask(secured_valkey(host="elsewhere.example"), ca_file)
    for refused in (unknown, of_another):
        assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value)
        assert str(make_url(url).password) not in str(refused.value)


def test_a_redis_url_may_say_that_nobody_is_verified(secured_valkey: Callable[..., str]) -> None:
    url = secured_valkey() + "?ssl_cert_reqs=none&ssl_check_hostname=false"
    assert connect_redis(url).ping()


def test_the_object_store_is_verified(s3_settings: RuntimeSettings, ca_file: Path, proxied: Proxied) -> None:
    host, _, port = s3_settings.s3_endpoint.partition(":")

    def bucket(certificate_for: str, ca: Path | None) -> None:
        proxy = proxied((host, int(port)), host=certificate_for)
        secured = {"s3_endpoint": f"{LOOPBACK}:{proxy.port}", "s3_secure": True, "ca_file": ca}
        connect_objects(s3_settings.model_copy(update=secured)).create_bucket()

    bucket(LOOPBACK, ca_file)
    for certificate_for, ca in ((LOOPBACK, None), ("elsewhere.example", ca_file)):
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED") as refused:
            bucket(certificate_for, ca)
        assert refused.value.code == "object_store"


@pytest.fixture
def secured_postgres(postgres_server: str, proxied: Proxied) -> Callable[..., tuple[str, TlsProxy]]:
    def url(certificate_for: str = DATABASE_HOST) -> tuple[str, TlsProxy]:
        plain = make_url(postgres_server)
        folder = plain.query.get("host")
        target: Target = f"{folder}/.s.PGSQL.5432" if folder else (plain.host or LOOPBACK, plain.port or 5432)
        proxy = proxied(target, host=certificate_for, postgres=True)
        query = {"hostaddr": LOOPBACK, "gssencmode": "disable"}
        secured = plain.set(host=DATABASE_HOST, port=proxy.port, query=query)
        return secured.render_as_string(hide_password=False), proxy

    return url


QDRANT_ANSWER = b'{"result": {"collections": []}, "status": "ok", "time": 0.0}'


def test_qdrant_is_verified(ca_file: Path, proxied: Proxied) -> None:
    """By a server that answers as Qdrant does when it is asked for its collections."""
    with answering(QDRANT_ANSWER) as address:
        plain = make_url(address)
        assert plain.host is not None
        assert plain.port is not None

        def ask(certificate_for: str, ca: Path | None) -> TlsProxy:
            proxy = proxied((plain.host, plain.port), host=certificate_for)
            connect_server(f"https://{LOOPBACK}:{proxy.port}", "", 5, ca)._client.get_collections()
            return proxy

        assert ask(LOOPBACK, ca_file).spoken >= 1
        for certificate_for, ca in ((LOOPBACK, None), ("elsewhere.example", ca_file)):
            with pytest.raises(ResponseHandlingException, match="CERTIFICATE_VERIFY_FAILED"):
                ask(certificate_for, ca)


def ping(url: str, ca: Path | None) -> None:
    store = open_store(url, ca_file=ca)
    try:
        store.ping()
        with store.unhurried() as patient:
            patient.ping()
    finally:
        store.close()


def test_postgres_of_another_machine_is_verified(
    secured_postgres: Callable[..., tuple[str, TlsProxy]], ca_file: Path
) -> None:
    url, proxy = secured_postgres()
    ping(url, ca_file)
    assert (proxy.spoken, proxy.plain) == (2, 0)
    for refused_url, ca in ((url, None), (secured_postgres("elsewhere.example")[0], ca_file)):
        with pytest.raises(Transient, match="TOUCHSTONE_CA_FILE") as refused:
            ping(refused_url, ca)
        assert refused.value.code == "database"


def test_a_database_url_may_ask_for_less(secured_postgres: Callable[..., tuple[str, TlsProxy]]) -> None:
    url, proxy = secured_postgres("elsewhere.example")
    ping(f"{url}&sslmode=require", None)
    assert proxy.spoken == 2
    with pytest.raises(Transient):
        ping(f"{url}&sslmode=disable", None)
    assert proxy.plain >= 1


def test_postgres_of_this_machine_needs_no_tls(postgres_url: str) -> None:
    ping(postgres_url, None)


def test_no_client_falls_back_to_the_clear(
    valkey_url: str, s3_settings: RuntimeSettings, ca_file: Path, postgres_server: str
) -> None:
    """The servers themselves speak no TLS."""
    with pytest.raises(redis.RedisError):
        connect_redis(valkey_url.replace("redis://", "rediss://"), ca_file).ping()
    with pytest.raises(Transient):
        CeleryDispatcher(celery_app(valkey_url.replace("redis://", "rediss://"), ca_file)).waiting("tls_test.1")
    with pytest.raises(Transient):
        connect_objects(s3_settings.model_copy(update={"s3_secure": True, "ca_file": ca_file})).create_bucket()


def test_settings_show_no_password() -> None:
    settings = RuntimeSettings(redis_url=SecretStr("rediss://:hidden-word@host/0"))
    assert "hidden-word" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.secrets == ("hidden-word",)
