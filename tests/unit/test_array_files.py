"""Single arrays of .npz files: what DataComp publishes is read, and what is made to harm is refused with a reason."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from touchstone_retrieval.ingest import array_files
from touchstone_retrieval.ingest.array_files import NotAnArray, array_names, stored_array
from touchstone_retrieval.ingest.given_embeddings import UnusableEmbeddings, read_embeddings

RNG = np.random.default_rng(0)
ROWS, WIDTH = 300, 24


def rows(dtype: type = np.float16) -> np.ndarray:
    found: np.ndarray = RNG.normal(size=(ROWS, WIDTH)).astype(dtype)
    return found


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as written:
        for name, data in members.items():
            written.writestr(name, data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_of_a_pool_are_read_by_name(tmp_path: Path, save: Callable[..., None]) -> None:
    arrays = {"b32_img": rows(), "b32_txt": rows(), "l14_img": rows(np.float32), "dedup_features": np.arange(9)}
    save(tmp_path / "pool.npz", **arrays)
    assert array_names(tmp_path / "pool.npz") == tuple(arrays)
    for name in ("b32_img", "b32_txt", "l14_img"):
        stored = stored_array(tmp_path / "pool.npz", name)
        assert (stored.dtype, stored.shape) == (arrays[name].dtype, (ROWS, WIDTH))
        np.testing.assert_array_equal(np.concatenate(list(stored.parts())), arrays[name])
        taken = read_embeddings(tmp_path / "pool.npz", "library:pool.npz", ROWS, WIDTH, name)
        wide = arrays[name].astype(np.float32)
        np.testing.assert_allclose(taken, wide / np.linalg.norm(wide, axis=1, keepdims=True), atol=1e-3)


SHAPED = b"{'descr': '%s', 'fortran_order': False, 'shape': %s, }"
HOSTILE: dict[str, tuple[dict[str, bytes], str]] = {
    "objects": ({"x.npy": npy(np.array([[{}]], object))}, "values of type object"),
    "a structure": ({"x.npy": npy(np.zeros(ROWS, "u8,u8"))}, "values of type"),
    "another array alone": ({"y.npy": npy(rows())}, "0 arrays are called x"),
    "a header that runs code": ({"x.npy": header(b"__import__('os').abort()")}, "cannot be read as .npz"),
    "a header of brackets": ({"x.npy": header(b"[" * 9000)}, "cannot be read as .npz"),
    "no header": ({"x.npy": b"x" * 100}, "cannot be read as .npz"),
    "nothing": ({"x.npy": b""}, "cannot be read as .npz"),
    "rows that are not there": (
        {"x.npy": header(SHAPED % (b"<f4", b"(300, 24)")) + b"x" * 50}, "it ends after 0",
    ),
    "rows behind the last": ({"x.npy": npy(rows()) + b"x"}, "it goes on behind its 300 rows"),
    "columns instead of rows": ({"x.npy": npy(np.asfortranarray(rows()))}, "column by column"),
    "rows beyond every memory": (
        {"x.npy": header(SHAPED % (b"<f4", b"(300000000000, 24)"))}, "its table has 300 rows",
    ),
    "a negative number of rows": (
        {"x.npy": header(SHAPED % (b"<f4", b"(-300, 24)"))}, "its table has 300 rows",
    ),
    "another type": ({"x.npy": npy(rows(np.float64))}, "float64, not float16 or float32"),
    "a bomb": ({"x.npy": header(SHAPED % (b"|S1", b"(1000000000,)")) + bytes(2**27)}, "holds"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_array_is_refused_with_its_reason(tmp_path: Path, kind: str) -> None:
    members, reason = HOSTILE[kind]
    path = archive(tmp_path / "x.npz", members)
    with pytest.raises(UnusableEmbeddings, match=reason) as refused:
        read_embeddings(path, "library:x.npz", ROWS, WIDTH, "x")
    assert refused.value.detail.startswith("x of library:x.npz ")
    assert refused.value.code == "embeddings_mismatch"


def damaged(data: bytes, kind: str) -> bytes:
    match kind:
        case "cut":
            return data[: len(data) // 2]
        case "a flipped bit":
            position = len(data) // 2
            return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        case "encrypted":
            first = data.index(b"PK\1\2") + 8
            return data[:first] + struct.pack("<H", 1) + data[first + 2 :]
        case _:
            return b"no archive"


@pytest.mark.parametrize("kind", ["cut", "a flipped bit", "encrypted", "no archive"])
def test_a_damaged_archive_is_refused_with_its_reason(tmp_path: Path, kind: str) -> None:
    path = archive(tmp_path / "x.npz", {"x.npy": npy(rows())}, zipfile.ZIP_STORED)
    path.write_bytes(damaged(path.read_bytes(), kind))
    with pytest.raises(UnusableEmbeddings, match=r"x of library:x\.npz cannot be read as \.npz"):
        read_embeddings(path, "library:x.npz", ROWS, WIDTH, "x")


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as written:
        written.writestr("x.npy", npy(rows()))
        with pytest.warns(UserWarning, match="Duplicate name"):
            written.writestr("x.npy", npy(rows()))
    with pytest.raises(NotAnArray, match="2 arrays are called x"):
        stored_array(tmp_path / "x.npz", "x")


def test_thousands_of_arrays_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", {f"{number}.npy": b"" for number in range(1001)}, zipfile.ZIP_STORED)
    with pytest.raises(NotAnArray, match="1001 arrays, 1000 at most are read"):
        array_names(path)


def test_one_process_reads_many_files(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", {"x.npy": npy(rows())})
    before = array_files._readers().started
    for _ in range(4):
        assert array_names(path) == ("x",)
    assert array_files._readers().started <= before + 1
