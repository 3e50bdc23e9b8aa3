"""How long anybody waits for Redis: every client of this system is made here or takes its limits from here.

A connection whose other end is gone without a word (a cable, a NAT, a frozen host) stays open and answers nothing. It
is given up after ANSWER_SECONDS; the caller gets an error that says so, and the next call opens a new one."""

import socket
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from touchstone_runtime.redis_urls import RedisUrl, parse_redis_url
from touchstone_runtime.tls import trusted_certificates

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0
"""Also for a command that waits at the server, so nobody may wait there for longer (ConductorSettings.poll_seconds)."""
IDLE_CHECK_SECONDS = 10
"""A connection that was idle for so long is asked whether it lives before it is used. A worker whose question for work
stays unanswered connects anew after this time or twice of it."""
KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}
"""Seconds of silence, seconds between questions, unanswered questions: then the kernel ends the connection."""


def tls_of(url: RedisUrl, ca_file: Path | None) -> dict[str, Any]:
    """How redis-py and Celery verify the server; nothing where it is not spoken to over TLS. What the URL itself says
    (`?ssl_cert_reqs=none`) counts for more."""
    if not url.tls:
        return {}
    ours = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": trusted_certificates(ca_file)}
    return ours | dict(url.tls_options)


def sentinel_options(url: RedisUrl, ca_file: Path | None) -> dict[str, Any]:
    """How redis-py and Celery speak to the sentinels themselves."""
    options: dict[str, Any] = {
        "username": url.sentinel_username or None,
        "password": url.sentinel_password or None,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
    }
    return options | ({"ssl": True} | tls_of(url, ca_file) if url.tls else {})


def connect_redis(url: str, ca_file: Path | None = None) -> redis.Redis:
    """Does not connect yet. Raises redis.RedisError after ANSWER_SECONDS at the latest, and UnusableRedisUrl.
    Keepalive is redis-py's own. `ca_file`: see RuntimeSettings."""
    parsed = parse_redis_url(url)
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "health_check_interval": IDLE_CHECK_SECONDS,
        # Once more where the server has closed the connection meanwhile, never where it is silent.
        "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),
    } | tls_of(parsed, ca_file)
    if not parsed.master:
        return redis.Redis.from_url(parsed.for_redis, **options)
    sentinels = Sentinel(parsed.addresses, sentinel_kwargs=sentinel_options(parsed, ca_file))  # type: ignore[no-untyped-call]
    login = {"username": parsed.username or None, "password": parsed.password or None, "db": parsed.database}
    found: redis.Redis = sentinels.master_for(parsed.master, ssl=parsed.tls, **login, **options)  # type: ignore[no-untyped-call]
    return found
