"""Fashion-MNIST as a target far from icons: real product photographs, 28 px, grey on black, ten classes.

Prepared on request and never shipped. Xiao, Rasul and Vollgraf 2017, Zalando SE, MIT licence.
"""

import argparse
import gzip
import hashlib
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import yaml
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import FashionMNIST

from touchstone_miniverse.build import TARGET_SCHEMA, write_table
from touchstone_miniverse.catalogue import SPLITS, describe_table

log = structlog.get_logger()

NAME = "fashion-mnist"
LICENCE = "MIT"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package dataset-fashion-mnist puts the four files."""
# sha256 of the four files unpacked: Debian packs them anew, so the packed bytes differ from the published ones.
UNPACKED = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASSES = (
    "t-shirt", "pair of trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
TEMPLATES = {
    "retrieval": ["{name}", "a photo of a {name}"],
    "filter": ["{name}", "a photo of a {name}"],
    "zero_shot": ["{name}", "a photo of a {name}", "a picture of a {name}", "{name}, clothing"],
    "synthesis": ["a photo of a {name}", "{name}, clothing", "a picture of a {name}"],
}


class UnusableFiles(Exception):
    """The given folder does not hold the four files of the published data set."""


@dataclass(frozen=True)
class Sizes:
    """Pictures a split, equally many of each class; 0 takes all."""

    train: int = 2_000
    validation: int = 500
    test: int = 1_000


def prepare(library: Path, sizes: Sizes, given: Path | None, downloads: Path) -> Path:
    """Write the splits and `fashion-mnist.yaml` below `library`; returns the catalogue file.

    Validation is carved from the published training part, so it shares nothing with test. Raises UnusableFiles, and
    urllib's errors where nothing is given and the network fails.
    """
    root = downloads if given is None else gather(given, downloads)
    published = {part: FashionMNIST(str(root), train=part == "train", download=True) for part in ("train", "test")}
    pixels = {part: published[part].data.numpy() for part in published}
    labels = {part: published[part].targets.numpy() for part in published}
    train, validation = carve(labels["train"], (sizes.train, sizes.validation))
    (test,) = carve(labels["test"], (sizes.test,))
    folder = library / "prepared" / NAME
    for split, part, rows in (("train", "train", train), ("validation", "train", validation), ("test", "test", test)):
        write_table(columns_of(part, pixels[part], labels[part], rows), TARGET_SCHEMA, folder / f"{split}.parquet")
    document = {"targets": [target_entry(folder, library)]}
    catalogue = library / "prepared" / f"{NAME}.yaml"
    catalogue.write_text(yaml.safe_dump(document, sort_keys=False))
    return catalogue


def gather(given: Path, downloads: Path) -> Path:
    """Unpack the four files, checked, of `given` to where torchvision looks for them; the folder to give it."""
    raw = downloads / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, digest in UNPACKED.items():
        (raw / name.removesuffix(".gz")).write_bytes(_unpacked(given / name, digest))
    return downloads


def _unpacked(file: Path, digest: str) -> bytes:
    if not file.exists():
        raise UnusableFiles(f"{file.parent} has no {file.name}: give the folder with the four .gz files as published")
    try:
        content = gzip.decompress(file.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise UnusableFiles(f"{file} cannot be unpacked ({error}): fetch it again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise UnusableFiles(f"{file} is not the published file (unpacked, its sha256 should be {digest})")
    return content


def carve(labels: NDArray[np.int64], sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """Disjoint rows for each wanted size, equally many of every class, in an order fixed by the row's number.

    A size of 0 takes what is left. Raises ValueError where a class has too few.
    """
    ranked = np.argsort([_rank(row) for row in range(len(labels))], kind="stable")
    by_class = [ranked[labels[ranked] == label] for label in np.unique(labels)]
    taken, carved = 0, []
    for size in sizes:
        each = size // len(by_class) if size else min(map(len, by_class)) - taken
        if each <= 0 or any(len(rows) < taken + each for rows in by_class):
            raise ValueError(f"{size} pictures do not come evenly from {len(labels)} in {len(by_class)} classes")
        carved.append(np.sort(np.concatenate([rows[taken : taken + each] for rows in by_class])))
        taken += each
    return carved


def columns_of(
    part: str, pixels: NDArray[np.uint8], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> dict[str, list[Any]]:
    """Columns of a split's table; pictures as PNG, their pixels as published."""
    return {
        "key": [f"{NAME}/{part}-{row:05d}" for row in rows],
        "image": [_png(pixels[row]) for row in rows],
        "class_id": labels[rows].tolist(),
        "source": [NAME] * len(rows),
        "licence": [LICENCE] * len(rows),
    }


def target_entry(folder: Path, library: Path) -> Mapping[str, Any]:
    """The target as the API takes it."""
    return {
        "name": NAME,
        "description": "Fashion-MNIST: product photographs, 28 px, grey on black (Zalando SE, MIT).",
        "classes": [{"id": number, "display_name": name} for number, name in enumerate(CLASSES)],
        "templates": TEMPLATES,
        "splits": {split: describe_table(folder / f"{split}.parquet", library) for split in SPLITS},
    }


def _rank(row: int) -> bytes:
    return hashlib.sha256(f"{NAME}:{row}".encode()).digest()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `far_domain [--from FOLDER] [--test 1000 --validation 500 --train 2000]`."""
    home = Path(__file__).parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, default=home, help="the workers' library folder")
    parser.add_argument(
        "--from", dest="given", type=Path, help="folder with the four files (default: Debian's, or the net)"
    )
    parser.add_argument("--downloads", type=Path, default=Path(".touchstone/downloads"))
    for split, size in (("train", Sizes.train), ("validation", Sizes.validation), ("test", Sizes.test)):
        parser.add_argument(f"--{split}", type=int, default=size, help="pictures, 0 for all")
    options = parser.parse_args(arguments)
    given = options.given or (DEBIAN_FOLDER if DEBIAN_FOLDER.exists() else None)
    sizes = Sizes(options.train, options.validation, options.test)
    try:
        catalogue = prepare(options.library, sizes, given, options.downloads)
    except UnusableFiles as error:
        parser.error(str(error))
    log.info("far_domain.prepared", catalogue=str(catalogue), register=f"touchstone apply {catalogue}")


if __name__ == "__main__":
    main()
