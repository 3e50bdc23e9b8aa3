"""Fashion-MNIST becomes a target like any other: balanced, disjoint, checked, registered by the same document."""

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from touchstone_contracts.catalogue import Catalogue, ParquetFile
from touchstone_miniverse.far_domain import CLASSES, UNPACKED, Sizes, UnusableFiles, carve, gather, prepare
from touchstone_runtime.digests import file_digest

EACH = 8


def idx(values: np.ndarray) -> bytes:
    """The format of the four files: magic number with rank, big-endian lengths, bytes."""
    header = (0x0800 + values.ndim).to_bytes(4, "big") + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return gzip.compress(header + values.tobytes(), mtime=0)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny data set in the published layout, whose digests are the expected ones."""
    folder, rng = tmp_path / "published", np.random.default_rng(0)
    folder.mkdir()
    for part in ("train", "t10k"):
        labels = np.repeat(np.arange(10, dtype=np.uint8), EACH)
        contents = {
            f"{part}-images-idx3-ubyte.gz": idx(rng.integers(0, 255, (len(labels), 28, 28), np.uint8)),
            f"{part}-labels-idx1-ubyte.gz": idx(rng.permutation(labels)),
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
            monkeypatch.setitem(UNPACKED, name, hashlib.sha256(gzip.decompress(content)).hexdigest())
    return folder


def test_prepared_target_registers_and_its_splits_are_balanced_and_disjoint(published: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    catalogue = prepare(library, Sizes(train=30, validation=20, test=40), published, tmp_path / "downloads")
    (target,) = Catalogue.model_validate(yaml.safe_load(catalogue.read_text())).targets
    assert target.name == "fashion-mnist"
    assert [label.display_name for label in target.classes] == list(CLASSES)
    assert target.splits.train is not None
    keys: set[str] = set()
    for source, size in ((target.splits.train, 30), (target.splits.validation, 20), (target.splits.test, 40)):
        assert isinstance(source, ParquetFile)
        path = library / source.location.removeprefix("library:")
        rows = pq.read_table(path).to_pylist()
        assert (file_digest(path), len(rows)) == (source.digest, size)
        assert np.bincount([row["class_id"] for row in rows]).tolist() == [size // 10] * 10
        assert Image.open(io.BytesIO(rows[0]["image"])).size == (28, 28)
        keys |= {row["key"] for row in rows}
    assert len(keys) == 90


def test_the_same_files_prepared_twice_give_the_same_bytes(published: Path, tmp_path: Path) -> None:
    first, second = (
        prepare(tmp_path / name, Sizes(10, 10, 10), published, tmp_path / "downloads").read_text()
        for name in ("one", "two")
    )
    assert first == second
    assert "digest" in first


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_missing_or_damaged_files_are_named(published: Path, tmp_path: Path, damage: str) -> None:
    file = published / "t10k-images-idx3-ubyte.gz"
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        file.write_bytes(gzip.compress(b"another"))
    with pytest.raises(UnusableFiles, match=r"t10k-images-idx3-ubyte\.gz"):
        gather(published, tmp_path / "downloads")


def test_more_pictures_than_there_are_is_refused() -> None:
    labels = np.repeat(np.arange(10), EACH)
    train, rest = carve(labels, (30, 0))
    assert (len(train), len(rest)) == (30, 50)
    assert not set(train) & set(rest)
    with pytest.raises(ValueError, match="do not come evenly"):
        carve(labels, (90,))
