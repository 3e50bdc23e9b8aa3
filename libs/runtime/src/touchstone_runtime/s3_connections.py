"""How long anybody waits for the object store: every S3 client of this system is made here."""

from types import TracebackType
from typing import Any, Self

import urllib3
from minio import Minio
from minio.credentials import IamAwsProvider, Provider, StaticProvider
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ReadTimeoutError

from touchstone_runtime.settings import RuntimeSettings
from touchstone_runtime.tls import trusted_certificates

CONNECT_SECONDS = 5.0
"""Also for each PIECE that is sent."""
ANSWER_SECONDS = 30.0
"""For the beginning of an answer and for each part of it that is read, not for the whole."""
PIECE = 2**20
CONNECTIONS = 16


class UnlessSilent(urllib3.Retry):
    """Another try where a connection broke or was refused; a server that is silent would be silent again."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _InPieces(HTTPConnection):
    """A socket's timeout holds for all that one call sends, and a checkpoint may take longer than any sensible one."""

    def send(self, data: Any) -> None:
        if not isinstance(data, bytes):
            super().send(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            super().send(view[start : start + PIECE])


class _InPiecesOverTls(_InPieces, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _InPieces


class _PoolOverTls(urllib3.HTTPSConnectionPool):
    ConnectionCls = _InPiecesOverTls


def connect_s3(settings: RuntimeSettings, answer_seconds: float = ANSWER_SECONDS) -> Minio:
    """Does not connect yet. `answer_seconds`: see ANSWER_SECONDS; shorter in tests."""
    # minio's own retries back off for many seconds after a restart; steps are retried by the conductor anyway.
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=answer_seconds),
        maxsize=CONNECTIONS,
        retries=UnlessSilent(total=2, backoff_factor=0.2),
        cert_reqs="CERT_REQUIRED",
        ca_certs=trusted_certificates(settings.ca_file),
    )
    pool.pool_classes_by_scheme = {"http": _Pool, "https": _PoolOverTls}
    scheme, _, server = settings.s3_endpoint.rpartition("://")
    return Minio(
        server.rstrip("/"),
        credentials=_credentials(settings, pool),
        secure=settings.s3_secure or scheme == "https",
        region=settings.s3_region,
        http_client=pool,
    )


def _credentials(settings: RuntimeSettings, pool: urllib3.PoolManager) -> Provider:
    if settings.s3_credentials == "machine":
        return IamAwsProvider(http_client=pool)
    return StaticProvider(settings.s3_access_key, settings.s3_secret_key.get_secret_value())
