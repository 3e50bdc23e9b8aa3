"""The describe command on folders of shards as people have them: what it leaves out, it says."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.odd_tars import Put, image, tar
from touchstone_contracts.catalogue import Target, TarShard, UpstreamShard, single_files
from touchstone_retrieval.describe.__main__ import main as describe
from touchstone_retrieval.ingest.tar_source import open_tar

GOOD = tar([image("a.jpg"), image("b.0.jpg"), image("b.1.jpg"), Put("b.1.txt", b"words"), image("._a.jpg")])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `shop` of the library."""
    monkeypatch.setenv("TOUCHSTONE_LIBRARY", str(tmp_path))
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def described(capsys: pytest.CaptureFixture[str], form: str = "webdataset") -> tuple[list[UpstreamShard], list[str]]:
    """The shards, and what was said beside them."""
    describe(("upstream", "shop", "library:shop", "--form", form, "--index-encoder", "clip"))
    out, said = capsys.readouterr()
    upstream = json.loads(out)["upstreams"][0]
    return [TarShard(**shard) if form == "webdataset" else shard for shard in upstream["shards"]], said.splitlines()


def test_shards_of_any_case_count_as_ingest_counts(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "0.tar").write_bytes(GOOD)
    (shop / "1.TAR").write_bytes(tar([image("c.jpg")]))
    shards, said = described(capsys)
    assert [(shard.location, shard.images) for shard in shards] == [
        ("library:shop/0.tar", 3),
        ("library:shop/1.TAR", 1),
    ]
    assert said == ["library:shop/0.tar: 1 hidden_file (._a.jpg)"]
    opened = [open_tar(shop / name, shard) for name, shard in zip(("0.tar", "1.TAR"), shards, strict=True)]  # type: ignore[arg-type]
    assert [source.count for source in opened] == [3, 1]


@pytest.mark.parametrize("name", ["1.tar.gz", "1.TGZ", "1.tar.bz2", "1.tar.xz", "1.tar.zst"])
def test_compressed_shards_stop_the_command_by_name(shop: Path, name: str) -> None:
    (shop / "0.tar").write_bytes(GOOD)
    (shop / name).write_bytes(b"?")
    with pytest.raises(SystemExit, match=rf"^compressed_tar: .*library:shop/{name}.*unpack"):
        describe(("upstream", "shop", "library:shop", "--form", "webdataset", "--index-encoder", "clip"))


def test_a_shard_that_is_compressed_in_secret_stops_the_command_by_name(shop: Path) -> None:
    (shop / "0.tar").write_bytes(b"\x1f\x8b\x08" + b"x" * 600)
    with pytest.raises(SystemExit, match=r"^compressed_tar: library:shop/0\.tar is compressed by gzip"):
        describe(("upstream", "shop", "library:shop", "--form", "webdataset", "--index-encoder", "clip"))


@pytest.mark.parametrize(
    "empty", [b"", b"\0" * 10_240, tar([Put("README.md", b"x")])], ids=["no byte", "zeros", "no image"]
)
def test_an_empty_shard_is_left_out_and_told_of(shop: Path, capsys: pytest.CaptureFixture[str], empty: bytes) -> None:
    (shop / "0.tar").write_bytes(GOOD)
    (shop / "1.tar").write_bytes(empty)
    shards, said = described(capsys)
    assert [shard.location for shard in shards] == ["library:shop/0.tar"]
    assert said[-1] == "left out: library:shop/1.tar holds no image"


def test_an_empty_table_is_left_out_and_told_of(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"key": ["a"], "image": [b"1"], "caption": ["x"]}), shop / "0.parquet")
    pq.write_table(pa.table({"key": pa.array([], pa.string())}), shop / "1.parquet")
    shards, said = described(capsys, "parquet")
    assert len(shards) == 1
    assert said == ["left out: library:shop/1.parquet holds no image"]


def test_what_macos_puts_beside_shards_is_left_out_and_told_of(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "0.tar").write_bytes(GOOD)
    (shop / "._0.tar").write_bytes(b"\0\5\x16\7")
    shards, said = described(capsys)
    assert len(shards) == 1
    assert said[0] == "left out: 1 hidden files below library:shop"


def test_a_shard_without_its_end_is_told_of(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "0.tar").write_bytes(GOOD[:1024])
    assert described(capsys)[1] == ["library:shop/0.tar: 1 no_end_marker (end at byte 1024)"]


def test_a_caption_without_its_image_is_told_of(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "a.png").write_bytes(b"1")
    (shop / "metadata.csv").write_text("file_name,caption\n" + "".join(f"{name}.png,x\n" for name in "avwxyz"))
    shards, said = described(capsys, "image_folder")
    assert len(shards) == 1
    assert said == ["library:shop: 5 caption_without_image (v.png, w.png, x.png, ...)"]


def target(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, *splits: str) -> tuple[Target, list[str]]:
    (tmp_path / "classes.txt").write_text("bar\ncircle\n")
    options = ("--form", form, "--classes", str(tmp_path / "classes.txt"), "--template", "a {name}")
    describe(("target", "x", *options, *splits))
    out, said = capsys.readouterr()
    return Target.model_validate(json.loads(out)["targets"][0]), said.splitlines()


def test_a_split_is_described_by_a_folder_a_pattern_or_a_list(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train/0", "train/1", "val-0", "val-1", "a", "b", "s0", "s1"):
        (shop / name).parent.mkdir(exist_ok=True)
        (shop / f"{name}.tar").write_bytes(tar([image(f"{name[-1]}.jpg"), Put(f"{name[-1]}.cls", name[:5].encode())]))
    (shop / "val-2.tar").write_bytes(tar([]))
    found, said = target(
        tmp_path, capsys, "webdataset", "--train", "library:shop/train", "--validation", "library:shop/val-*.tar",
        "--test", "library:shop/b.tar", "--test", "library:shop/a.tar",
        "--further-test", "sketch", "library:shop/s1.tar", "--further-test", "sketch", "library:shop/s0.tar",
    )  # fmt: skip
    named = {split: [file.location[13:] for file in single_files(each)] for split, each in found.splits.by_name.items()}
    assert named == {
        "train": ["train/0.tar", "train/1.tar"], "validation": ["val-0.tar", "val-1.tar"],
        "test": ["b.tar", "a.tar"], "sketch": ["s1.tar", "s0.tar"],
    }  # fmt: skip
    assert said == ["left out: library:shop/val-2.tar holds no image"]


def test_files_of_the_command_must_name_the_same_classes(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, classes in (("a", ["bar", "circle"]), ("b", ["circle", "bar"]), ("c", ["bar", "circle", "square"])):
        said = {"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}}
        rows = pa.table({"image": [name.encode()], "label": [0]}, metadata={"huggingface": json.dumps(said)})
        pq.write_table(rows, shop / f"{name}.parquet")
    splits = ("--validation", "library:shop/a.parquet", "--test", "library:shop/b.parquet")
    found, _ = target(tmp_path, capsys, "parquet", *splits)
    assert {each.labels for each in found.splits.by_name.values()} == {("bar", "circle")}  # type: ignore[union-attr]
    with pytest.raises(SystemExit, match=r"^other_classes: .*a\.parquet and .*c\.parquet name other classes"):
        target(tmp_path, capsys, "parquet", *splits, "--test", "library:shop/c.parquet")


def test_class_folders_of_one_split_lie_in_one_folder(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^unknown_layout: class folders of one split lie in one folder"):
        target(tmp_path, capsys, "class_folders", *("--test", "library:a") * 2, "--validation", "library:b")


def test_a_data_set_of_several_files_is_described(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (shop / f"{name}.tar").write_bytes(tar([image(f"{name}.jpg"), Put(f"{name}.cls", b"0")]))
    describe(("dataset", "bought", "library:shop/b.tar", "library:shop/*.tar", "--target", "x", "--form", "webdataset"))
    (found,) = json.loads(capsys.readouterr().out)["datasets"]
    assert [file["location"] for file in found["images"]["files"]] == ["library:shop/b.tar", "library:shop/a.tar"]


def test_a_split_of_no_image_stops_the_command_by_name(shop: Path, tmp_path: Path) -> None:
    (shop / "0.tar").write_bytes(tar([]))
    (tmp_path / "classes.txt").write_text("bar\ncircle\n")
    options = ("--validation", "library:shop/0.tar", "--test", "library:shop/0.tar", "--template", "a {name}")
    with pytest.raises(SystemExit, match=r"^empty_shard: library:shop/0\.tar holds no image"):
        describe(("target", "x", "--form", "webdataset", "--classes", str(tmp_path / "classes.txt"), *options))
