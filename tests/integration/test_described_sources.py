"""What the describe command writes down is what ingest accepts: from disk, from S3 and from torchvision."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from minio import Minio
from PIL import Image
from pydantic import SecretStr
from support.answering import answering
from support.tiny_images import SHAPES, draw_shape
from touchstone_contracts.catalogue import Catalogue, ImageFolder, Target, TarShard, Upstream
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources
from touchstone_retrieval.describe.__main__ import main as describe
from touchstone_retrieval.describe.shards import describe_class_folders
from touchstone_retrieval.describe.torchvision_target import UnusableDataset, carve, load_published
from touchstone_retrieval.ingest.folder_source import in_image_folder, is_image_name
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects, S3Objects
from touchstone_runtime.s3_connections import connect_s3
from touchstone_runtime.s3_files import S3Files
from touchstone_runtime.settings import RuntimeSettings

RNG = np.random.default_rng(0)
SHOP = AllowedSources(buckets=("shop", "nowhere"))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOUCHSTONE_LIBRARY", str(tmp_path / "library"))
    (tmp_path / "library").mkdir()
    return tmp_path / "library"


def catalogue(capsys: pytest.CaptureFixture[str], *arguments: str) -> Catalogue:
    describe(arguments)
    return Catalogue.model_validate(json.loads(capsys.readouterr().out))


def ingested(source: Any, reader: LocationReader) -> list[dict[str, Any]]:
    artifacts = Artifacts(MemoryObjects())
    with opened(source, reader) as rows:
        images, account = write_source(rows, artifacts)
    assert account.refused == {}
    return artifacts.get_table(images.manifest).to_pylist()


def shard(number: int) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in ((f"{number}.png", draw_shape("bar", "red", RNG)), (f"{number}.txt", b"a red bar")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def shop(s3_objects: S3Objects, s3_settings: RuntimeSettings, monkeypatch: pytest.MonkeyPatch) -> Minio:
    """A client of the server that the settings name; it has a bucket `shop`."""
    monkeypatch.setenv("TOUCHSTONE_ALLOWED_BUCKETS", "shop")
    monkeypatch.setenv("TOUCHSTONE_S3_ENDPOINT", s3_settings.s3_endpoint)
    monkeypatch.setenv("TOUCHSTONE_S3_ACCESS_KEY", s3_settings.s3_access_key)
    monkeypatch.setenv("TOUCHSTONE_S3_SECRET_KEY", s3_settings.s3_secret_key.get_secret_value())
    client = connect_s3(s3_settings)
    if not client.bucket_exists("shop"):
        client.make_bucket("shop")
    return client


def put(shop: Minio, objects: Mapping[str, bytes]) -> None:
    for key, data in objects.items():
        shop.put_object("shop", key, BytesIO(data), len(data))


def picture(shape: str) -> bytes:
    return draw_shape(shape, "red", RNG)


def test_shards_on_s3_are_found_by_prefix_and_read_with_the_workers_credentials(
    shop: Minio, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(shop, {f"photos/0000{number}.tar": shard(number) for number in range(2)} | {"photos/00000_stats.json": b"{}"})
    arguments = ("upstream", "shop", "s3://shop/photos/", "--form", "webdataset", "--index-encoder", "clip")
    upstream: Upstream = catalogue(capsys, *arguments).upstreams[0]
    assert [each.location for each in upstream.shards] == ["s3://shop/photos/00000.tar", "s3://shop/photos/00001.tar"]
    reader = LocationReader(Library(library), S3Files(shop, SHOP))
    rows = [row for each in upstream.shards for row in ingested(each, reader)]
    assert [(row["source_key"], row["caption"]) for row in rows] == [("0", "a red bar"), ("1", "a red bar")]

    assert isinstance(upstream.shards[0], TarShard)
    gone = upstream.shards[0].model_copy(update={"location": "s3://shop/photos/99999.tar"})
    with pytest.raises(Invalid, match="99999") as missing, opened(gone, reader):
        pass
    assert missing.value.code == "place_missing"


def test_keys_and_folders_with_any_name_are_described_and_read(
    shop: Minio, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(shop, {"my photos/été = 1 #2/50% off?.tar": shard(7)})
    arguments = ("upstream", "odd", "s3://shop/my photos/", "--form", "webdataset", "--index-encoder", "clip")
    (tar,) = catalogue(capsys, *arguments).upstreams[0].shards
    assert tar.location == "s3://shop/my photos/été = 1 #2/50% off?.tar"
    folder = library / "holiday photos" / "日本 (1)"
    folder.mkdir(parents=True)
    (folder / "a b=#.png").write_bytes(picture("bar"))
    (folder / "a b=#.txt").write_text("a red bar")
    arguments = ("upstream", "odd", "library:holiday photos", "--form", "image_folder", "--index-encoder", "clip")
    (images,) = catalogue(capsys, *arguments).upstreams[0].shards
    assert images.location == "library:holiday photos/日本 (1)"
    reader = LocationReader(Library(library), S3Files(shop, SHOP))
    found = [(row["source_key"], row["caption"]) for each in (tar, images) for row in ingested(each, reader)]
    assert found == [("7", "a red bar"), ("a b=#.png", "a red bar")]


def test_a_machine_with_credentials_of_its_cloud_needs_no_keys(
    shop: Minio, s3_settings: RuntimeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(shop, {"photos/00000.tar": shard(0)})
    with cloud_credentials(s3_settings) as address:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        machine = {"s3_credentials": "machine", "s3_access_key": "", "s3_secret_key": SecretStr("")}
        files = S3Files(connect_s3(s3_settings.model_copy(update=machine)), SHOP)
        assert "s3://shop/photos/00000.tar" in files.below("s3://shop/photos/")


@contextmanager
def cloud_credentials(settings: RuntimeSettings) -> Iterator[str]:
    """What a container of AWS asks for keys; it gives those of `settings`."""
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {"AccessKeyId": settings.s3_access_key, "SecretAccessKey": settings.s3_secret_key.get_secret_value()}
    with answering(json.dumps(keys | {"Token": "", "Expiration": until}).encode()) as address:
        yield f"{address}/credentials"


def test_image_folders_on_s3_are_an_upstream_and_nothing_else_below_the_prefix_is_fetched(
    shop: Minio, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spring = {
        "albums/spring/a.png": picture("bar"),
        "albums/spring/a.txt": b"a red bar",
        "albums/spring/b.png": picture("circle"),
        "albums/spring/metadata.csv": b"file_name,caption\nb.png,a red circle\n",
    }
    put(shop, spring | {"albums/autumn/c.png": picture("square"), "albums/raw.zip": b"?", "albums-2/d.png": b"?"})
    arguments = ("upstream", "albums", "s3://shop/albums", "--form", "image_folder", "--index-encoder", "clip")
    shards = catalogue(capsys, *arguments).upstreams[0].shards
    assert [each.location for each in shards] == ["s3://shop/albums/autumn", "s3://shop/albums/spring"]
    reader = LocationReader(Library(library), S3Files(shop, SHOP))
    found = [(row["source_key"], row["caption"]) for each in shards for row in ingested(each, reader)]
    assert found == [("c.png", ""), ("a.png", "a red bar"), ("b.png", "a red circle")]

    with reader.folder("s3://shop/albums/", in_image_folder) as folder:
        assert [path for path in folder.rglob("*") if path.is_file()] == []
    put(shop, {"albums/spring/a.txt": b"a blue bar"})
    assert isinstance(shards[1], ImageFolder)
    with pytest.raises(Invalid) as changed, opened(shards[1], reader):
        pass
    assert changed.value.code == "digest_mismatch"


def test_class_folders_on_s3_are_a_target_and_a_missing_one_is_named(
    shop: Minio, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(shop, {f"shapes/{shape}/front/0.png": picture(shape) for shape in ("square", "bar")})
    (tmp_path / "classes.txt").write_text("square\nbar\n")
    arguments = (
        "target", "shapes", "--form", "class_folders", "--classes", str(tmp_path / "classes.txt"),
        "--validation", "s3://shop/shapes", "--test", "s3://shop/shapes/", "--template", "a {name}",
    )  # fmt: skip
    splits = catalogue(capsys, *arguments).targets[0].splits
    reader = LocationReader(Library(library), S3Files(shop, SHOP))
    for split in (splits.validation, splits.test):
        rows = ingested(split, reader)
        assert [(row["source_key"], row["class_id"]) for row in rows] == [
            ("square/front/0.png", 0),
            ("bar/front/0.png", 1),
        ]

    shop.remove_object("shop", "shapes/bar/front/0.png")
    with pytest.raises(Invalid, match="class 1 has no folder 'bar' in s3://shop/shapes/"), opened(splits.test, reader):
        pass
    put(shop, {"shapes/": b"", "shapes/bar/": b"", "shapes/circle/0.png": picture("circle")})
    with pytest.raises(Invalid, match="folder 'circle' in s3://shop/shapes/ belongs to no class"):
        describe_class_folders("s3://shop/shapes/", ("square", "bar"), reader)
    with pytest.raises(Invalid, match="nothing is below s3://shop/shape/"):
        describe_class_folders("s3://shop/shape", ("square", "bar"), reader)
    with pytest.raises(Invalid, match="s3://nowhere/shapes/ is not there"):
        describe_class_folders("s3://nowhere/shapes", ("square", "bar"), reader)


@pytest.mark.parametrize("key", ["../x.png", "a/../../x.png", "a//x.png", "./x.png", "/x.png"])
def test_an_object_whose_key_is_no_path_is_refused(key: str, tmp_path: Path) -> None:
    class OneObject(S3Files):
        """A server that has an object no client of ours could write."""

        def below(self, location: str) -> list[str]:
            return [location + key]

    with pytest.raises(Invalid) as refused:
        OneObject(Minio("127.0.0.1:9"), SHOP).fetch_folder("s3://shop/bad", tmp_path / "folder", is_image_name)
    assert refused.value.code == "unusable_key"
    assert list(tmp_path.rglob("*")) == []


def test_every_folder_of_images_is_a_shard_and_a_new_one_changes_no_other(
    library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("upstream", "photos", "library:photos", "--form", "image_folder", "--index-encoder", "clip")

    def fill(name: str) -> None:
        (library / "photos" / name).mkdir(parents=True)
        (library / "photos" / name / "x.png").write_bytes(draw_shape("bar", "red", RNG))

    fill("spring")
    before = catalogue(capsys, *arguments).upstreams[0].shards
    fill("autumn")
    after = catalogue(capsys, *arguments).upstreams[0].shards
    assert [each.location for each in after] == ["library:photos/autumn", "library:photos/spring"]
    assert before == after[1:]
    assert all(len(ingested(each, LocationReader(Library(library), None))) == 1 for each in after)


def test_class_folders_become_a_target_in_the_order_of_the_class_file(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("validation", "test"):
        for shape in SHAPES:
            (library / "shapes" / split / shape).mkdir(parents=True)
            (library / "shapes" / split / shape / "0.png").write_bytes(draw_shape(shape, "red", RNG))
    classes = tmp_path / "classes.txt"
    classes.write_text("triangle\nbar\ta thin bar\ncircle\nsquare\n")
    target: Target = catalogue(
        capsys, "target", "shapes", "--form", "class_folders", "--classes", str(classes),
        "--validation", "library:shapes/validation", "--test", "library:shapes/test", "--template", "a {name}",
    ).targets[0]  # fmt: skip
    assert [label.display_name for label in target.classes] == ["triangle", "a thin bar", "circle", "square"]
    assert {*target.templates.filter, *target.templates.zero_shot} == {"a {name}"}
    rows = ingested(target.splits.test, LocationReader(Library(library), None))
    assert [(row["source_key"], row["class_id"]) for row in rows] == [
        ("triangle/0.png", 0), ("bar/0.png", 1), ("circle/0.png", 2), ("square/0.png", 3),
    ]  # fmt: skip


def test_a_target_takes_templates_by_purpose_from_a_file(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shape in ("bar", "square"):
        (library / "shapes" / shape).mkdir(parents=True)
        (library / "shapes" / shape / "0.png").write_bytes(draw_shape(shape, "red", RNG))
    (tmp_path / "classes.txt").write_text("bar\nsquare\n")
    purposes = {name: [f"{name} of {{article}} {{name}}"] for name in ("retrieval", "filter", "zero_shot", "synthesis")}
    file = tmp_path / "templates.json"
    arguments = ["target", "shapes", "--form", "class_folders", "--classes", str(tmp_path / "classes.txt")]
    arguments += ["--validation", "library:shapes", "--test", "library:shapes", "--templates", str(file)]
    file.write_text(json.dumps(purposes))
    (target,) = catalogue(capsys, *arguments).targets
    assert target.templates.model_dump(mode="json") == purposes
    file.write_text(json.dumps(purposes | {"filter": ["no slot for a name"]}))
    with pytest.raises(SystemExit, match="filter"):
        describe(arguments)


def test_a_data_set_carries_the_class_ids_of_its_target(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shape in ("bar", "circle"):
        (library / "brought" / shape).mkdir(parents=True)
        (library / "brought" / shape / "0.png").write_bytes(draw_shape(shape, "red", RNG))
    (tmp_path / "classes.txt").write_text("circle\nbar\n")
    asked = ("dataset", "by-hand", "library:brought", "--target", "shapes", "--form", "class_folders")
    (found,) = catalogue(capsys, *asked, "--classes", str(tmp_path / "classes.txt"), "--licence", "CC0-1.0").datasets
    assert (found.name, found.target, found.licence, found.images.images) == ("by-hand", "shapes", "CC0-1.0", 2)
    assert (found.origin, found.made_by, found.trained_on) == ("unknown", "", "")
    lineage = ("--origin", "synthetic", "--made-by", "PixelForge 2", "--trained-on", "miniverse")
    (declared,) = catalogue(capsys, *asked, "--classes", str(tmp_path / "classes.txt"), *lineage).datasets
    assert (declared.origin, declared.made_by, declared.trained_on) == ("synthetic", "PixelForge 2", "miniverse")
    with pytest.raises(SystemExit, match="say synthetic"):
        describe((*asked, "--classes", str(tmp_path / "classes.txt"), "--made-by", "PixelForge 2"))
    rows = ingested(found.images, LocationReader(Library(library), None))
    assert {row["source_key"]: row["class_id"] for row in rows} == {"circle/0.png": 0, "bar/0.png": 1}
    with pytest.raises(SystemExit, match="class folders need --classes"):
        describe(asked)


def test_a_missing_class_folder_ends_the_command_with_its_name(library: Path, tmp_path: Path) -> None:
    (library / "shapes/bar").mkdir(parents=True)
    (tmp_path / "classes.txt").write_text("bar\nsquare\n")
    splits = ("--validation", "library:shapes", "--test", "library:shapes")
    with pytest.raises(SystemExit, match="class 1 has no folder 'square'"):
        describe(
            ["target", "x", "--form", "class_folders", "--classes", str(tmp_path / "classes.txt"), *splits,
             "--template", "a {name}"]
        )  # fmt: skip


def fashion_mnist(root: Path, train: int, test: int) -> dict[str, np.ndarray]:
    """The four files as torchvision expects them, filled with noise; the labels by part."""
    raw = root / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    labels = {}
    for part, name, count in (("train", "train", train), ("test", "t10k", test)):
        pixels = RNG.integers(0, 256, size=(count, 28, 28), dtype=np.uint8)
        labels[part] = (np.arange(count) % 10).astype(np.uint8)
        head = b"".join(number.to_bytes(4, "big") for number in (0x803, count, 28, 28))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = b"".join(number.to_bytes(4, "big") for number in (0x801, count))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(head + labels[part].tobytes())
    return labels


def test_a_data_set_of_torchvision_becomes_a_target_without_download(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = fashion_mnist(tmp_path / "root", train=50, test=20)
    arguments = (
        "torchvision", "fashion", "--dataset", "FashionMNIST", "--root", str(tmp_path / "root"),
        "--validation-per-class", "2", "--template", "a photo of a {name}",
    )  # fmt: skip
    target = catalogue(capsys, *arguments).targets[0]
    assert [label.display_name for label in target.classes][:2] == ["T-shirt/top", "Trouser"]
    reader, splits = LocationReader(Library(library), None), target.splits
    assert splits.train is not None
    published = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    rows = {name: ingested(split, reader) for name, split in published.items()}
    assert {name: len(found) for name, found in rows.items()} == {"train": 30, "validation": 20, "test": 20}
    assert [row["class_id"] for row in rows["test"]] == labels["test"].tolist()
    assert not {row["source_key"] for row in rows["train"]} & {row["source_key"] for row in rows["validation"]}
    assert all(labels["train"][int(row["source_key"])] == row["class_id"] for row in rows["train"])
    assert catalogue(capsys, *arguments).targets[0] == target


def test_pixels_stay_as_published(library: Path, tmp_path: Path) -> None:
    fashion_mnist(tmp_path / "root", train=20, test=10)
    published = load_published("FashionMNIST", tmp_path / "root", download=False)
    image, _ = published.test[3]
    assert isinstance(image, Image.Image)
    assert (np.asarray(image) == published.test.data[3].numpy()).all()


@pytest.mark.parametrize("name", ["NoSuchData", "ImageFolder", "VisionDataset", "os"])
def test_only_data_sets_with_a_train_and_a_test_part_are_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableDataset, match=name):
        load_published(name, tmp_path, download=False)


def test_a_data_set_that_is_not_there_is_not_fetched_unasked(tmp_path: Path) -> None:
    with pytest.raises(UnusableDataset, match="allow the download"):
        load_published("CIFAR10", tmp_path, download=False)


def test_a_class_with_too_few_training_pictures_is_named() -> None:
    assert carve([0, 0, 1, 1], 1, "x") == carve([0, 0, 1, 1], 1, "x")
    with pytest.raises(UnusableDataset, match="class 1 has no more than 2"):
        carve([0, 0, 0, 1, 1], 2, "x")
