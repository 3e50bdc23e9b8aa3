"""A package index on this machine with wheels that hold nothing but their name and version."""

import functools
import http.server
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def empty_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel that installs and holds no code."""
    information = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{information}/{each},,\n" for each in (*files, "RECORD"))
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in (*files.items(), ("RECORD", record)):
            wheel.writestr(f"{information}/{file}", text)
    return path


@contextmanager
def wheel_index(folder: Path, packages: Mapping[str, str]) -> Iterator[str]:
    """The URL of a simple index, on loopback, with an empty wheel of each package (name -> version)."""
    for name, version in packages.items():
        home = folder / name
        home.mkdir(parents=True)
        wheel = empty_wheel(home, name, version)
        (home / "index.html").write_text(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are not worth a line."""
