"""A web server with the files of a folder, and a hub with one data set."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "owner/birds"


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """To nobody."""


@contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    """Its address."""
    with _serving(partial(_Files, directory=str(folder))) as address:
        yield address


@contextmanager
def serving_hub(folder: Path) -> Iterator[str]:
    """The endpoint of a hub that has the files of a folder as data set REPOSITORY at COMMIT, which is its `main`."""

    class Hub(_HubAnswers):
        root = folder

    with _serving(Hub) as address:
        yield address


class _HubAnswers(BaseHTTPRequestHandler):
    root: Path

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        api = f"/api/datasets/{REPOSITORY}"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            self._answer({"id": REPOSITORY, "sha": COMMIT})
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            self._tree(path.removeprefix(f"{api}/tree/{COMMIT}").strip("/"))
        elif path.startswith(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/"):
            self._file(self.root / path.removeprefix(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/"))
        else:
            self._missing()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = json.loads(said)["paths"]
        self._answer([self._entry(self.root / path) for path in asked if (self.root / path).exists()])

    def _tree(self, below: str) -> None:
        folder = self.root / below
        if not folder.is_dir():
            self._missing()
            return
        self._answer([self._entry(path) for path in sorted(folder.rglob("*"))])

    def _entry(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.root).as_posix()
        oid = sha1(name.encode(), usedforsecurity=False).hexdigest()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": oid}
        return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._missing()
            return
        data, status = path.read_bytes(), 200
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            data, status = data[int(first) : int(last) + 1 if last else None], 206
        self._send(status, data, "application/octet-stream")

    def _answer(self, document: Any) -> None:
        self._send(200, json.dumps(document).encode(), "application/json")

    def _missing(self) -> None:
        self._send(404, b"{}", "application/json", {"X-Error-Code": "EntryNotFound"})

    def _send(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """To nobody."""


@contextmanager
def _serving(handler: Any) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
