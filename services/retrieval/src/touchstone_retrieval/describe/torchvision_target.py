"""Data sets of torchvision by name: their splits as parquet files of the library, pixels as published."""

import hashlib
import inspect
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torchvision import datasets
from touchstone_contracts.catalogue import ParquetFile, Splits
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest

SCHEMA = pa.schema([("key", pa.string()), ("image", pa.binary()), ("class_id", pa.int32())])
ROWS_AT_A_TIME = 256


class UnusableDataset(Invalid):
    code = "unusable_dataset"
    title = "Unusable torchvision data set"


@dataclass(frozen=True)
class Published:
    """The two parts every such data set has."""

    train: datasets.VisionDataset
    test: datasets.VisionDataset

    @property
    def class_names(self) -> list[str]:
        """Raises UnusableDataset where the data set does not say."""
        names = getattr(self.test, "classes", None)
        if not names:
            raise UnusableDataset(f"{type(self.test).__name__} does not name its classes")
        return [name if isinstance(name, str) else str(name[0]) for name in names]


def load_published(name: str, root: Path, download: bool) -> Published:
    """Raises UnusableDataset: no such data set, one without a train and a test part, or files that are not there."""
    dataset = getattr(datasets, name, None) if name in datasets.__all__ else None
    accepted = inspect.signature(dataset).parameters if dataset else {}
    if dataset is None or "download" not in accepted or not {"train", "split"} & set(accepted):
        raise UnusableDataset(f"torchvision has no data set {name!r} with a train and a test part")
    try:
        parts = [
            dataset(root, download=download, **({"train": part == "train"} if "train" in accepted else {"split": part}))
            for part in ("train", "test")
        ]
    except (RuntimeError, ValueError) as error:
        remedy = "allow the download, or put the files there"
        raise UnusableDataset(f"{name} cannot be read from {root} ({error}): {remedy}") from error
    return Published(*parts)


def write_splits(published: Published, name: str, library: Path, validation_per_class: int) -> Splits:
    """Validation is carved from the published training part, by a rank that depends on a picture's number alone.

    Raises UnusableDataset where a class has too few training pictures."""
    labels = [int(label) for label in _labels(published.train)]
    validation = carve(labels, validation_per_class, name)
    kept = sorted(set(range(len(labels))) - set(validation))
    folder = library / "prepared" / name
    folder.mkdir(parents=True, exist_ok=True)
    return Splits(
        train=_write(published.train, kept, folder / "train.parquet", library),
        validation=_write(published.train, validation, folder / "validation.parquet", library),
        test=_write(published.test, range(len(published.test)), folder / "test.parquet", library),
    )


def _labels(dataset: datasets.VisionDataset) -> Iterable[int]:
    for attribute in ("targets", "_labels", "labels"):
        if hasattr(dataset, attribute):
            return list(getattr(dataset, attribute))
    return [dataset[row][1] for row in range(len(dataset))]


def carve(labels: Sequence[int], per_class: int, name: str) -> list[int]:
    """Rows, `per_class` of every class, in order."""
    ranked = sorted(range(len(labels)), key=lambda row: hashlib.sha256(f"{name}:{row}".encode()).digest())
    taken: dict[int, list[int]] = {label: [] for label in sorted(set(labels))}
    for row in ranked:
        if len(taken[labels[row]]) < per_class:
            taken[labels[row]].append(row)
    if short := [label for label, count in Counter(labels).items() if count <= per_class]:
        raise UnusableDataset(f"class {short[0]} has no more than {per_class} training pictures to carve from")
    return sorted(row for rows in taken.values() for row in rows)


def _write(dataset: datasets.VisionDataset, rows: Sequence[int], path: Path, library: Path) -> ParquetFile:
    with pq.ParquetWriter(path, SCHEMA, compression="none") as file:
        for first in range(0, len(rows), ROWS_AT_A_TIME):
            part = rows[first : first + ROWS_AT_A_TIME]
            file.write_table(pa.Table.from_pylist(list(_pictures(dataset, part)), SCHEMA))
    location = f"library:{path.relative_to(library).as_posix()}"
    return ParquetFile(location=location, digest=file_digest(path), images=len(rows))


def _pictures(dataset: datasets.VisionDataset, rows: Iterable[int]) -> Iterator[dict[str, object]]:
    for row in rows:
        image, label = dataset[row]
        yield {"key": f"{row:07d}", "image": _png(image), "class_id": int(label)}


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
