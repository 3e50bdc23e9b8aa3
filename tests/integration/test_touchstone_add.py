"""`touchstone add` does in one command what describing, copying and applying took three for."""

import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.memory_services import OPERATOR_KEY, memory_services
from support.served_api import serving_api
from support.served_files import serving_files
from support.tiny_images import SHAPES, draw_shape
from support.tiny_models import tiny_encoder
from support.workers_here import WorkersHere, work_to_the_end, workers_here
from touchstone import Client
from touchstone.cli import app
from touchstone_api.bootstrap import Services
from touchstone_contracts.catalogue import ClassFolders, SourceFiles, single_files
from touchstone_retrieval.settings import RetrievalSettings
from typer.testing import CliRunner

RNG = np.random.default_rng(0)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installation that works while it is asked."""
    services = memory_services(tmp_path)
    settings = RetrievalSettings(download_private_addresses=True, allowed_hosts=("127.0.0.1",))
    with (
        workers_here(services.artifacts, tmp_path / "library", tmp_path, settings) as workers,
        serving_api(services, needs_login=True) as address,
        working(services, workers),
    ):
        monkeypatch.setenv("TOUCHSTONE_API_KEY", OPERATOR_KEY)
        monkeypatch.setenv("TOUCHSTONE_SERVER", address)
        with Client(address) as client:
            client.register("encoders", tiny_encoder(tmp_path / "library", trained_on="tiny"))
        yield address


@contextmanager
def working(services: Services, workers: WorkersHere) -> Iterator[None]:
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            work_to_the_end(replace(services), workers)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)


def photos(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, shape in enumerate(SHAPES):
        (folder / f"photo {number}.png").write_bytes(draw_shape(shape, "red", RNG))
        (folder / f"photo {number}.txt").write_text(f"a red {shape}")
    return folder


def class_folders(root: Path, *splits: str) -> Path:
    for split in splits:
        for shape in SHAPES[:2]:
            path = root / split / shape / f"{split}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw_shape(shape, "red", RNG))
    return root


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_a_folder_of_images_and_class_folders_with_spaces_are_added_by_two_commands(
    server: str, tmp_path: Path
) -> None:
    said = run("add", "upstream", str(photos(tmp_path / "my holiday photos")))
    assert "upstream my-holiday-photos: 4 images in 1 shard;" in said
    said = run("add", "target", str(class_folders(tmp_path / "my icons", "train", "val", "test")), "--name", "icons")
    assert "target icons: 2 classes; images: test 2, validation 2, train 2" in said
    with Client(server) as client:
        split = client.target("icons").splits.test
        assert isinstance(split, ClassFolders)
        assert split.location.startswith("upload://default.")


def test_remote_locations_and_splits_apart_are_added_by_the_same_command(server: str, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "shard.tar", "w") as tar:
        for path in sorted(photos(tmp_path / "photos").iterdir()):
            tar.add(path, path.name)
    with serving_files(tmp_path / "served") as address:
        assert "upstream shard: 4 images" in run(
            "add", "upstream", f"{address}/shard.tar", "--index-encoder", "tiny-clip"
        )
    names = tmp_path / "classes.txt"
    names.write_text("\ufeff" + "\n".join(reversed(SHAPES[:2])) + "\n", "utf-8")
    class_folders(tmp_path, "held out", "later")
    run(
        "add", "target", "--validation", str(tmp_path / "held out"), "--test", str(tmp_path / "later"),
        "--name", "apart", "--classes", str(names), "--template", "an icon of {name}",
    )  # fmt: skip
    with Client(server) as client:
        target = client.target("apart")
        assert [label.display_name for label in target.classes] == list(reversed(SHAPES[:2]))
        assert target.templates.filter == ("an icon of {name}",)
        assert target.splits.train is None
    run("add", "dataset", str(tmp_path / "later"), "--target", "apart", "--name", "bought", "--origin", "real")


def digits(folder: Path, name: str, classes: list[str], images: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    said = {"info": {"features": {"digit": {"names": classes, "_type": "ClassLabel"}}}}
    rows = {"bild": [draw_shape("bar", "red", RNG) for _ in range(images)], "digit": [n % 2 for n in range(images)]}
    pq.write_table(pa.table(rows, metadata={"huggingface": json.dumps(said)}), folder / name)


def test_splits_of_several_files_with_columns_of_their_own_are_added_by_one_command(
    server: str, tmp_path: Path
) -> None:
    data = tmp_path / "my digits" / "data"
    for name in ("train-0", "train-1", "train-2", "val", "test-0", "test-1"):
        digits(data, f"{name}.parquet", ["zero", "one"])
    columns = ("--column", "image=bild", "--column", "label=digit")
    said = run("add", "target", str(data.parent), "--name", "digits", *columns)
    assert "target digits: 2 classes; images: test 4, validation 2, train 6" in said
    said = run(
        "add", "target", "--train", str(data / "train-*.parquet"), "--validation", str(data / "val.parquet"),
        "--test", str(data / "test-1.parquet"), "--test", str(data / "test-0.parquet"), "--name", "apart", *columns,
    )  # fmt: skip
    assert "images: test 4, validation 2, train 6" in said
    with Client(server) as client:
        whole, apart = client.target("digits").splits, client.target("apart").splits
    assert isinstance(whole.train, SourceFiles)
    assert whole.train.digest == apart.train.digest  # type: ignore[union-attr]
    assert [file.digest for file in single_files(apart.test)] == [
        file.digest for file in reversed(single_files(whole.test))
    ]
    run("add", "dataset", str(data / "train-*.parquet"), "--target", "digits", "--name", "bought", *columns)
    said = run("add", "target", str(data.parent), "--name", "other", code=2)
    assert "needs a column for image" in said
    said = run("add", "target", str(data.parent), "--name", "other", "--column", "bild", code=2)
    assert "names no column" in said
    said = run("add", "target", "library:x", "--name", "other", "--column", "picture=bild", code=2)
    assert "/columns/picture" in said


def test_what_cannot_be_added_says_where_it_was_looked_for_and_why(server: str, tmp_path: Path) -> None:
    assert f"there is no file or folder at {tmp_path}/my birds" in run(
        "add", "upstream", str(tmp_path / "my birds"), code=2
    )
    said = run("add", "target", str(class_folders(tmp_path / "icons", "train", "test")), code=2)
    assert "target icons was not added" in said
    assert "no validation split: found test (2 files, such as test/" in said
    assert "name either a SOURCE" in run("add", "target", code=2)
    assert "is none of webdataset, parquet" in run("add", "upstream", "library:x", "--layout", "zip", code=2)
