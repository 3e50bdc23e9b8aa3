"""A web server on this machine for tests of downloads: some pages, some traps."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOOPBACK = "127.0.0.1"
ENDLESS = "/endless"


@dataclass(frozen=True)
class Page:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    failures: int = 0
    """Answers 503 so many times first."""


@dataclass
class Web:
    address: str
    pages: dict[str, Page]
    asked: list[str] = field(default_factory=list)
    """Paths, in order of requests."""
    sent: int = 0
    """Bytes of the endless stream that were handed to the network."""

    def url(self, path: str) -> str:
        return f"{self.address}{path}"


@contextmanager
def serving(pages: Mapping[str, Page]) -> Iterator[Web]:
    """Serves `pages` by path, and ENDLESS: a body that never ends and announces no length."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            if self.path == ENDLESS:
                self._stream()
                return
            page = web.pages.get(self.path, Page(status=404))
            failed = web.asked.count(self.path) <= page.failures
            self.send_response(503 if failed else page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in page.headers:
                self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def _stream(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    web.sent += self.wfile.write(b"\0" * 65_536)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    web = Web(f"http://{LOOPBACK}:{server.server_port}", dict(pages))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
