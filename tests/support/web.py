"""A web server on this machine for tests of downloads: some pages, some traps."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOOPBACK = "127.0.0.1"
ENDLESS = "/endless"
SLOW_HEADERS, SLOW_BODY = "/slow-headers", "/slow-body"
PAUSE_SECONDS = 0.02


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
    """Serves `pages` by path, and ENDLESS: a body that never ends and announces no length; SLOW_HEADERS and SLOW_BODY:
    a byte now and then, for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            if self.path == ENDLESS:
                self._stream()
                return
            if self.path in (SLOW_HEADERS, SLOW_BODY):
                self._drip(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if self.path == SLOW_BODY else b"X-Slow: "))
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

        def _drip(self, start: bytes) -> None:
            self.close_connection = True
            try:
                self.wfile.write(start)
                while not stopped.wait(PAUSE_SECONDS):
                    self.wfile.write(b"x")
            except OSError:
                return

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    stopped = threading.Event()
    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    web = Web(f"http://{LOOPBACK}:{server.server_port}", dict(pages))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
