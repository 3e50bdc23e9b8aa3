"""Fetch a source package with its registry's own client and check it against the declared digest."""

import hashlib
import io
import re
import subprocess
import tarfile
from pathlib import Path

from touchstone_miniverse.sources import Package, Registry


class PackageMismatch(Exception):
    """The fetched archive is not the one this miniverse was built from."""


def fetch(package: Package, folder: Path) -> Path:
    """Archive of `package` below `folder`, fetched when absent. Raises PackageMismatch on another sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = _present(package, folder)
    if archive is None:
        subprocess.run(_fetch_command(package), cwd=folder, check=True, stdout=subprocess.DEVNULL)
        archive = _present(package, folder)
    if archive is None:
        raise PackageMismatch(f"{package.name} {package.version}: the registry's client left no archive in {folder}")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if package.sha256 != digest:
        raise PackageMismatch(f"{package.name} {package.version}: sha256 is {digest}, declared is {package.sha256}")
    return archive


def read_members(package: Package, archive: Path, pattern: str) -> dict[str, bytes]:
    """Files of the archive whose path matches the regular expression `pattern`, by path inside the package."""
    match package.registry:
        case Registry.NPM:
            return _read_tar(archive.read_bytes(), pattern, "package/")
        case Registry.DEBIAN:
            return _read_tar(_data_of_deb(archive), pattern, "./")


def _present(package: Package, folder: Path) -> Path | None:
    stem = package.name.lstrip("@").replace("/", "-")
    found = sorted(folder.glob(f"{stem}[-_]*"))
    return next((path for path in found if package.version.replace(":", "%3a") in path.name), None)


def _fetch_command(package: Package) -> list[str]:
    match package.registry:
        case Registry.NPM:
            return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        case Registry.DEBIAN:
            return ["apt-get", "download", f"{package.name}={package.version}"]


def _read_tar(content: bytes, pattern: str, prefix: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            if member.isfile() and re.search(pattern, member.name):
                handle = archive.extractfile(member)
                assert handle is not None  # isfile() was checked
                files[member.name.removeprefix(prefix)] = handle.read()
    return files


def _data_of_deb(archive: Path) -> bytes:
    """The uncompressed data tar of a Debian package."""
    return subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], check=True, capture_output=True).stdout
