"""How long anybody waits for Postgres: every client is made here.

The server ends statements, waits for locks and idle transactions by itself. What it cannot end is a connection over
which nothing comes any more, so the client stops waiting a little later."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from sqlalchemy import URL, Engine, create_engine, event
from touchstone_runtime.tls import trusted_certificates

PATIENCE = {
    "connect_timeout": 5,
    # Seconds of silence, between questions, and how many stay unanswered: then the kernel ends the connection.
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # Milliseconds until the kernel gives up what was sent and is not acknowledged.
    "tcp_user_timeout": 30_000,
}
SERVER_LIMITS = {
    "statement_timeout": 30_000,
    "lock_timeout": 15_000,
    # Whoever lost its connection in a transaction shall not keep its locks.
    "idle_in_transaction_session_timeout": 60_000,
}
"""In milliseconds."""
LOCAL = ("", "localhost", "127.0.0.1", "::1")


def tls_of(url: URL, ca_file: Path | None) -> dict[str, str]:
    """How libpq verifies the server. Nothing for one of this machine, or where `url` itself says that less is enough
    (`?sslmode=disable`)."""
    host = url.host or url.query.get("host", "")
    hosts = [host] if isinstance(host, str) else host
    asked = str(url.query.get("sslmode", "verify-full"))
    if not asked.startswith("verify-") or all(name in LOCAL or name.startswith("/") for name in hosts):
        return {}
    return {"sslmode": asked, "sslrootcert": trusted_certificates(ca_file)}


class PatientConnection(psycopg.Connection[Any]):
    """Waits for each answer for `answer_seconds`, then closes itself."""

    answer_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Raises psycopg.OperationalError."""
        try:
            return super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)
        except psycopg.OperationalError as error:
            # The answer to this statement may come yet: nobody must take it for that of the next.
            if error.sqlstate is None:
                self.pgconn.finish()
            raise


def postgres_engine(url: URL, answer_seconds: float | None, ca_file: Path | None = None) -> Engine:
    """Does not connect yet. None: no statement and no lock has a limit. What `url` says itself counts. `ca_file`: see
    RuntimeSettings."""
    limits = {} if answer_seconds is None else SERVER_LIMITS
    options = " ".join(f"-c {name}={value}" for name, value in limits.items())
    ours = PATIENCE | tls_of(url, ca_file) | ({"options": options} if options else {})
    given = {name: value for name, value in ours.items() if name not in url.query}
    engine = create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20, connect_args=given)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: list[Any], named: dict[str, Any]) -> PatientConnection:
        connection = PatientConnection.connect(*arguments, **named)
        connection.answer_seconds = answer_seconds
        return connection

    return engine
