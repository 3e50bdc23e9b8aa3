"""Forms of the URL of Redis: what each is understood as, how it is written for either client, and what is refused."""

import kombu.utils.url
import pytest
import redis.connection
from pydantic import SecretStr, ValidationError
from touchstone_contracts.redaction import passwords_in
from touchstone_runtime.queue import celery_app
from touchstone_runtime.redis_connections import connect_redis
from touchstone_runtime.redis_urls import FORMS, SCHEMES, RedisUrl, UnusableRedisUrl, parse_redis_url
from touchstone_runtime.settings import RuntimeSettings

SECRET = "hidden-word"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", RedisUrl((("host", 6379),))),
        ("redis://", RedisUrl((("127.0.0.1", 6379),))),
        ("REDIS://host:1/2\n", RedisUrl((("host", 1),), database=2)),
        ("redis://host/2?db=2", RedisUrl((("host", 6379),), database=2)),
        ("redis://[::1]:7/1", RedisUrl((("::1", 7),), database=1)),
        ("redis://me@host", RedisUrl((("host", 6379),), username="me")),
        ("redis://:a%2Fb%40c@host", RedisUrl((("host", 6379),), password="a/b@c")),
        ("redis://:p@ss:w;d@host", RedisUrl((("host", 6379),), password="p@ss:w;d")),
        ("redis://host?username=me&password=x%26y", RedisUrl((("host", 6379),), username="me", password="x&y")),
        ("unix:///run/a%20b.sock", RedisUrl(path="/run/a b.sock")),
        ("unix://me:pw@/run/r.sock?db=4", RedisUrl(path="/run/r.sock", database=4, username="me", password="pw")),
        ("redis+socket:///run/r.sock?virtual_host=4", RedisUrl(path="/run/r.sock", database=4)),
        ("rediss://host", RedisUrl((("host", 6379),), tls=True)),
        (
            "rediss://host?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=False&ssl_ca_certs=/ca.pem",
            RedisUrl(
                (("host", 6379),),
                tls=True,
                tls_options={"ssl_cert_reqs": "required", "ssl_check_hostname": False, "ssl_ca_certs": "/ca.pem"},
            ),
        ),
        (
            "rediss://host?ssl_cert_reqs=none",
            RedisUrl((("host", 6379),), tls=True, tls_options={"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ),
        (
            "sentinel://:pw@a;sentinel://[::2]:5/3?master_name=m&sentinel_username=u&sentinel_password=s",
            RedisUrl(
                (("a", 26379), ("::2", 5)),
                database=3,
                password="pw",
                master="m",
                sentinel_username="u",
                sentinel_password="s",
            ),
        ),
        ("sentinel://a?master_name=m&ssl=true", RedisUrl((("a", 26379),), master="m", tls=True)),
    ],
)
def test_a_form_is_understood(url: str, expected: RedisUrl) -> None:
    assert parse_redis_url(url) == expected


@pytest.mark.parametrize("url", ["redis://u%2F:p%40%3B%25@[::1]:7/2", "unix://u%2F:p%40%3B%25@/a%20%23b.sock?db=2"])
def test_both_clients_read_the_same_of_what_is_written_for_them(url: str) -> None:
    parsed = parse_redis_url(url)
    by_redis = redis.connection.parse_url(parsed.for_redis)
    by_kombu = kombu.utils.url.url_to_parts(parsed.for_celery.removeprefix("redis+"))
    assert (by_redis["username"], by_redis["password"], by_redis["db"]) == ("u/", "p@;%", 2)
    assert (by_kombu.username, by_kombu.password) == ("u/", "p@;%")
    if parsed.path:
        assert (by_redis["path"], by_kombu.path, by_kombu.query) == ("/a #b.sock", "a #b.sock", {"virtual_host": "2"})
    else:
        assert (by_redis["host"], by_redis["port"], by_kombu.hostname, by_kombu.port) == ("::1", 7, "::1", 7)
        assert by_kombu.path == "2"
    assert ";" not in parsed.for_celery


REFUSED = {
    f"{SECRET}": "begins with none",
    f"amqp://:{SECRET}@host": "begins with none",
    f"redis+cluster://:{SECRET}@host": "begins with none",
    f"valkey://:{SECRET}@host": "begins with none",
    f"redis://:{SECRET}@host/cache": "database that is no number",
    f"redis://:{SECRET}@host/-1": "database that is no number",
    f"redis://:{SECRET}@host/²": "database that is no number",
    f"redis://:{SECRET}@host/1?db=2": "two databases",
    f"redis://:{SECRET}/word@host/1": "host or port",
    f"redis://:{SECRET}#word@host/1": "host or port",
    f"redis://:{SECRET}?word@host/1": "host or port",
    f"redis://me/{SECRET}@host/1": "percent-encoded",
    f"redis://me#{SECRET}@host/1": "percent-encoded",
    f"redis://:[{SECRET}@host/1": "host or port",
    f"redis://:{SECRET}@host:port/1": "host or port",
    f"redis://:{SECRET}@host:99999/1": "host or port",
    f"redis://:{SECRET}@a;redis://:{SECRET}@b": "percent-encoded",
    f"redis://:{SECRET}@a/0;redis://b/0": "database that is no number",
    f"redis://:{SECRET}@host?{SECRET}=1": "does not take",
    f"redis://:{SECRET}@host?ssl_cert_reqs=none": "does not take",
    f"redis://:{SECRET}@host?password={SECRET}&password=other": "says password twice",
    f"rediss://:{SECRET}@host?ssl_cert_reqs={SECRET}": "neither required",
    f"rediss://:{SECRET}@host?ssl_check_hostname={SECRET}": "neither true nor false",
    f"unix://:{SECRET}@": "names no path",
    f"unix://:{SECRET}@run/redis.sock": "names no path",
    f"sentinel://:{SECRET}@a": "lacks ?master_name=",
    f"sentinel://:{SECRET}@a;b?master_name=m": "do not all begin",
    f"sentinel://:{SECRET}@a/1;sentinel://b/2?master_name=m": "two databases",
}


@pytest.mark.parametrize("url", REFUSED)
def test_what_neither_client_can_use_is_refused_at_start_without_a_word_of_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOUCHSTONE_REDIS_URL", url)
    with pytest.raises(ValidationError, match=REFUSED[url].replace("?", r"\?")) as refused:
        RuntimeSettings()
    assert FORMS in str(refused.value)
    assert SECRET not in str(refused.value)
    for client in (connect_redis, celery_app):
        with pytest.raises(UnusableRedisUrl) as unusable:
            client(url)
        assert SECRET not in str(unusable.value)


def test_every_scheme_is_named_in_the_message() -> None:
    assert len(SCHEMES) == 5
    assert all(f"{scheme}://" in FORMS for scheme in SCHEMES)


def test_every_password_of_a_url_is_a_secret_of_the_settings() -> None:
    url = "sentinel://:first-word@a;sentinel://b?master_name=m&sentinel_password=second%2Fword&ssl_password=third-word"
    secrets = RuntimeSettings(redis_url=SecretStr(url)).secrets
    assert {"first-word", "second/word", "third-word"} <= set(secrets)
    assert passwords_in(url) == secrets
    assert all(word not in repr(parse_redis_url(url)) for word in ("first-word", "second/word", "third-word"))
