"""The folder of wheels that `make gpu-check` needs on a machine without a network: filled here, installed there.

`python tests/gpu/wheels.py download FOLDER` and `python tests/gpu/wheels.py install FOLDER SITE`. Run as a file:
nothing of the checks can be imported before the wheels are installed."""

import argparse
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCKS = tuple(ROOT / "services" / name / "requirements.lock" for name in ("generator", "trainer"))
COMES_WITH_TORCH = re.compile(r"nvidia-.*|cuda-.*|triton|torch|torchvision|mpmath|networkx|setuptools|sympy")
NEVER_IMPORTED = ("hf-xet",)
"""Speeds up downloads from a hub, of which there are none."""
ENOUGH = ("torch", "torchvision")
"""Of the machine; every other package must be the pinned one or, where its wheel was left out, at least there."""
GLIBC = (17, 24, 26, 27, 28, 31, 34)
"""Minor versions; pip matches a wheel's exactly."""
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in GLIBC))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    download = commands.add_parser("download", help="fill FOLDER; needs a network")
    download.add_argument("folder", type=Path)
    download.add_argument("--python", default="3.12", help="of the machine with the GPU, for example 3.12")
    download.add_argument("--without", default="", help="packages that machine already has, separated by spaces")
    download.add_argument("--torchvision", default="", help="version to add, where the machine has none")
    download.add_argument("--pip", default=sys.executable, help="a Python that has pip")
    download.set_defaults(run=lambda options: fill(options))
    install = commands.add_parser("install", help="install FOLDER into SITE; needs no network")
    install.add_argument("folder", type=Path)
    install.add_argument("site", type=Path)
    install.set_defaults(run=lambda options: unpack(options.folder, options.site))
    options = parser.parse_args()
    options.run(options)


def fill(options: argparse.Namespace) -> None:
    left_out = {*options.without.split(), *NEVER_IMPORTED}
    pins = [pin for name, pin in pinned(options.python).items() if name not in left_out]
    pip = [options.pip, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    pip += ["--python-version", options.python, "--implementation", "cp"]
    pip += [part for platform in PLATFORMS for part in ("--platform", platform)]
    pip += ["--dest", str(options.folder)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(pins))
        requirements.flush()
        subprocess.run([*pip, "--require-hashes", "--requirement", requirements.name], check=True)
    if options.torchvision:
        subprocess.run([*pip, f"torchvision=={options.torchvision}"], check=True)
    wheels = sorted(options.folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    print(f"{len(wheels)} wheels for Python {options.python}, {size:.1f} MiB, in {options.folder}")


def pinned(python: str) -> dict[str, str]:
    """By name: the requirement with its hashes, of the packages that generator and trainer need beside torch."""
    # Only here: the machine with the GPU may have no such package.
    from packaging.markers import Marker

    # Typed as a plain mapping: packaging asks for every key of an environment, of which these are the ones that vary.
    machine: Mapping[str, str] = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found = {}
    for lock in LOCKS:
        for line in _requirements(lock):
            pin, *hashes = re.split(r"\s+(?=--hash)", line)
            requirement, _, marker = pin.partition(" ; ")
            name = requirement.partition("==")[0]
            needed = not marker or Marker(marker).evaluate(dict(machine))
            if needed and not COMES_WITH_TORCH.fullmatch(name):
                found[name] = " ".join([requirement, *hashes])
    return found


def _requirements(lock: Path) -> Iterator[str]:
    joined = lock.read_text().replace("\\\n", " ")
    yield from (line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#"))


def unpack(folder: Path, site: Path) -> None:
    """Into a folder of its own, which goes before the machine's packages: a Python that is itself a virtual environment
    hides its packages from a second one made of it. Raises SystemExit with what is missing."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise SystemExit(f"there are no wheels in {folder}: fill it with `make gpu-wheels` where there is a network")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    pip += ["--no-compile", "--upgrade", "--find-links", str(folder), "--target", str(site)]
    subprocess.run([*pip, *map(str, wheels)], check=True)
    sys.path.insert(0, str(site))
    require(sorted({*ENOUGH, *(name for lock in LOCKS for name in _names(lock))}))


def _names(lock: Path) -> Iterator[str]:
    """Of the packages needed on every machine."""
    for line in _requirements(lock):
        name, _, rest = line.partition("==")
        if " ; " not in rest and not COMES_WITH_TORCH.fullmatch(name) and name not in NEVER_IMPORTED:
            yield name


def require(names: list[str]) -> None:
    """Raises SystemExit with one sentence when a package is missing or torch and torchvision do not fit together."""
    missing = [name for name in names if _version(name) is None]
    if "torch" in missing:
        raise SystemExit(f"{sys.executable} has no torch; give the Python that has it: make gpu-check PYTHON=...")
    if missing:
        hint = f" TORCHVISION=<the version for torch {_version('torch')}>" if "torchvision" in missing else ""
        raise SystemExit(
            f"neither the wheels nor this machine have {', '.join(missing)}: download them with `make gpu-wheels{hint}`"
        )
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        raise SystemExit(
            f"torchvision {_version('torchvision')} does not work with this machine's torch {_version('torch')} "
            f"({error}): each release of torch has its own torchvision, and those on PyPI are built for its CUDA "
            "builds; install the one that belongs to this torch, or name its version to `make gpu-wheels TORCHVISION=`"
        ) from error


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
