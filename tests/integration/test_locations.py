"""Files of web servers, hubs and buckets are found, pinned, fetched within limits and read again at ingest."""

import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.served_files import COMMIT, serving_hub
from support.tiny_images import draw_shape, upstream_rows
from support.web import Page, serving
from touchstone_contracts.catalogue import ClassFolders, single_files
from touchstone_contracts.problems import Invalid, Transient
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed
from touchstone_contracts.steps import DescribeSource, SourceDescribed
from touchstone_retrieval.describe.described import described
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_retrieval.locations.buckets import connect_google
from touchstone_retrieval.locations.fsspec_files import FsspecFiles
from touchstone_retrieval.locations.hub import HubFiles
from touchstone_retrieval.locations.web import WebFiles
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects, S3Objects
from touchstone_runtime.remote_files import RemoteFiles
from touchstone_runtime.s3_connections import connect_s3
from touchstone_runtime.s3_files import S3Files
from touchstone_runtime.serving import no_progress
from touchstone_runtime.settings import RuntimeSettings

RNG = np.random.default_rng(0)
EVERYWHERE = AllowedSources(hosts=("127.0.0.1",), hub=("owner/*",), buckets=("birds",))
MOST = 10**6


def shard(*keys: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for key in keys:
            for name, data in ((f"{key}.png", draw_shape("bar", "red", RNG)), (f"{key}.txt", b"a red bar")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def web(allowed: AllowedSources = EVERYWHERE, most: int = MOST, *, private: bool = True) -> dict[str, RemoteFiles]:
    files = WebFiles(allowed, most, private_addresses=private)
    return {"http": files, "https": files}


def at(folder: Path, others: dict[str, RemoteFiles], s3: S3Files | None = None) -> LocationReader:
    return LocationReader(Library(folder / "nothing"), s3, others)


def describe(reader: LocationReader, *locations: str, form: str = "upstream", **asked: Any) -> SourceDescribed:
    request = DescribeSource.model_validate({"form": form, "asked": "once", "locations": {"": locations}} | asked)
    return described(request, reader, no_progress)


def captions(found: SourceDescribed, reader: LocationReader) -> list[str]:
    """Of all images, as they are ingested."""
    artifacts, read = Artifacts(MemoryObjects()), list[str]()
    for source in found.shards:
        with opened(source, reader) as rows:  # type: ignore[arg-type]
            images, account = write_source(rows, artifacts)
        assert account.refused == {}
        read += artifacts.get_table(images.manifest)["caption"].to_pylist()
    return read


def test_a_shard_and_a_parquet_file_of_web_servers_are_described_and_ingested(
    served: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = served
    (folder / "my shard.tar").write_bytes(shard("a", "b"))
    pq.write_table(pa.Table.from_pylist(upstream_rows(3)), folder / "images.parquet")
    reader = at(tmp_path, web())
    tar = describe(reader, f"{address}/my%20shard.tar")
    parquet = describe(reader, f"{address}/images.parquet")
    assert tar.shards[0].location == f"{address}/my%20shard.tar"
    assert captions(tar, reader) == ["a red bar", "a red bar"]
    assert [each.format for each in parquet.shards] == ["parquet"]
    assert len(captions(parquet, reader)) == 3


def table_bytes(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def test_a_parquet_file_is_fetched_once_to_be_recognised_and_described(tmp_path: Path) -> None:
    with serving({f"/{name}.parquet": Page(table_bytes(upstream_rows(3))) for name in "ab"}) as server:
        found = describe(at(tmp_path, web()), *(server.url(f"/{name}.parquet") for name in "ab"))
    assert [(each.format, each.images) for each in found.shards] == [("parquet", 3)] * 2
    assert {path: server.asked.count(path) for path in server.asked} == {"/a.parquet": 1, "/b.parquet": 1}


def test_a_file_that_changed_since_it_was_described_is_not_ingested(served: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = served
    (folder / "a.tar").write_bytes(shard("a"))
    reader = at(tmp_path, web())
    found = describe(reader, f"{address}/a.tar")
    (folder / "a.tar").write_bytes(shard("a", "b"))
    with pytest.raises(Invalid) as refused, opened(found.shards[0], reader):  # type: ignore[arg-type]
        pass
    assert refused.value.code == "digest_mismatch"


def test_a_web_server_lists_nothing_and_says_what_is_missing(served: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = served
    reader = at(tmp_path, web())
    with pytest.raises(Invalid) as missing:
        describe(reader, f"{address}/gone.tar")
    assert missing.value.code == "place_missing"
    assert "gone.tar" in missing.value.detail
    with pytest.raises(Invalid, match="does not list its files"):
        describe(reader, f"{address}/shards/*.tar")


def test_private_networks_and_hosts_that_are_not_allowed_are_refused(served: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = served
    (folder / "a.tar").write_bytes(shard("a"))
    https = address.replace("http://", "https://")
    with pytest.raises(Invalid) as private:
        describe(at(tmp_path, web(private=False)), f"{https}/a.tar")
    assert private.value.code == "private_address"
    with pytest.raises(Invalid) as plain:
        describe(at(tmp_path, web(private=False)), f"{address}/a.tar")
    assert plain.value.code == "not_encrypted"
    with pytest.raises(SourceNotAllowed, match="TOUCHSTONE_ALLOWED_HOSTS"):
        describe(at(tmp_path, web(AllowedSources(hosts=("example.org",)))), f"{address}/a.tar")


def test_a_file_of_too_many_bytes_is_not_fetched_to_its_end(served: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = served
    (folder / "large.tar").write_bytes(b"0" * 5000)
    with pytest.raises(Invalid, match="TOUCHSTONE_FETCHED_BYTES") as refused:
        describe(at(tmp_path, web(most=4999)), f"{address}/large.tar")
    assert refused.value.code == "too_many_bytes"


def test_a_server_that_is_away_is_asked_again_later(tmp_path: Path) -> None:
    with pytest.raises(Transient) as away:
        describe(at(tmp_path, web()), "http://127.0.0.1:9999/a.tar")
    assert away.value.code == "location"


def test_a_data_set_of_a_hub_is_pinned_to_its_commit(tmp_path: Path) -> None:
    hub_folder = tmp_path / "hub"
    write(hub_folder, data__0_dot_tar=shard("a"), data__1_dot_tar=shard("b", "c"), README_dot_md=b"# Birds")
    with serving_hub(hub_folder) as endpoint:
        reader = at(tmp_path, {"hf": HubFiles(EVERYWHERE, MOST, endpoint)})
        for location in ("hf://datasets/owner/birds", "hf://datasets/owner/birds@main/data/*.tar"):
            found = describe(reader, location)
            assert [each.location for each in found.shards] == [
                f"hf://datasets/owner/birds@{COMMIT}/data/0.tar", f"hf://datasets/owner/birds@{COMMIT}/data/1.tar",
            ]  # fmt: skip
        assert captions(found, reader) == ["a red bar"] * 3
        with pytest.raises(Invalid, match="below hf://datasets/owner/birds there are 3 files"):
            describe(reader, "hf://datasets/owner/birds/*.zip")


def test_class_folders_of_a_hub_are_a_target_that_is_read_again(tmp_path: Path) -> None:
    names = [f"{split}/{name}/1.png" for split in ("train", "validation", "test") for name in ("owl", "crow")]
    for name in names:
        (tmp_path / "hub" / name).parent.mkdir(parents=True)
        (tmp_path / "hub" / name).write_bytes(draw_shape("bar", "red", RNG))
    with serving_hub(tmp_path / "hub") as endpoint:
        reader = at(tmp_path, {"hf": HubFiles(EVERYWHERE, MOST, endpoint)})
        found = describe(reader, "hf://datasets/owner/birds", form="target")
        assert found.classes == ("crow", "owl")
        test = found.splits["test"]
        assert isinstance(test, ClassFolders)
        assert test.location == f"hf://datasets/owner/birds@{COMMIT}/test"
        with opened(test, reader) as rows:
            assert [row.class_id for row in rows.rows()] == [0, 1]


def parquet_of_hub(root: Path, name: str, labels: list[int]) -> None:
    (root / "data").mkdir(parents=True, exist_ok=True)
    said = {"info": {"features": {"label": {"names": ["crow", "owl"], "_type": "ClassLabel"}}}}
    pictures = [{"bytes": draw_shape("bar", "red", RNG), "path": "a.png"} for _ in labels]
    table = pa.table({"image": pictures, "label": labels}, metadata={"huggingface": json.dumps(said)})
    pq.write_table(table, root / "data" / name)


def test_parquet_files_of_a_hub_are_a_target_of_which_one_file_at_a_time_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, files in (("train", 3), ("validation", 1), ("test", 2)):
        for number in range(files):
            parquet_of_hub(tmp_path / "hub", f"{split}-{number:05d}-of-{files:05d}.parquet", [0, 1])
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "here"))
    with serving_hub(tmp_path / "hub") as endpoint:
        reader = at(tmp_path, {"hf": HubFiles(EVERYWHERE, MOST, endpoint)})
        found = describe(reader, "hf://datasets/owner/birds", form="target")
        assert found.classes == ("crow", "owl")
        train = found.splits["train"]
        assert [file.location.rpartition("/")[2] for file in single_files(train)] == [
            f"train-{number:05d}-of-00003.parquet" for number in range(3)
        ]
        held = list[int]()
        with opened(train, reader, classes=2) as source:
            for row in source.rows():
                assert row.image is not None
                held.append(len(list((tmp_path / "here").glob("touchstone-*/object"))))
                if len(held) == 5:
                    break
        assert held == [1] * 5
        assert list((tmp_path / "here").glob("touchstone-*")) == []
        with opened(train, reader, classes=2) as source:
            _, account = write_source(source, Artifacts(MemoryObjects()))
        assert (account.seen, account.taken) == (6, 6)


def test_a_repository_that_is_not_there_or_not_allowed_is_refused(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as endpoint:
        reader = at(tmp_path, {"hf": HubFiles(EVERYWHERE, MOST, endpoint)})
        with pytest.raises(Invalid) as missing:
            describe(reader, "hf://datasets/owner/nothing")
        assert missing.value.code == "place_missing"
        with pytest.raises(SourceNotAllowed, match="TOUCHSTONE_ALLOWED_HUB"):
            describe(reader, "hf://datasets/somebody/birds")


def test_objects_of_s3_are_found_by_prefix_and_pattern(
    s3_objects: S3Objects, s3_settings: RuntimeSettings, tmp_path: Path
) -> None:
    client = connect_s3(s3_settings)
    if not client.bucket_exists("birds"):
        client.make_bucket("birds")
    for key in ("photos/0.tar", "photos/more/1.tar", "photos-of-staff/2.tar"):
        client.put_object("birds", key, io.BytesIO(shard(key[-5])), len(shard(key[-5])))
    reader = at(tmp_path, {}, S3Files(client, EVERYWHERE))
    found = describe(reader, "s3://birds/photos")
    assert [each.location for each in found.shards] == ["s3://birds/photos/0.tar", "s3://birds/photos/more/1.tar"]
    assert captions(found, reader) == ["a red bar", "a red bar"]
    assert len(describe(reader, "s3://birds/photos/*").shards) == 1
    assert len(describe(reader, "s3://birds").shards) == 3


def test_buckets_of_google_need_an_extra_that_the_refusal_names() -> None:
    with pytest.raises(Invalid, match=r"install fsspec\[gcs\]") as refused:
        connect_google()
    assert refused.value.code == "scheme_not_installed"


def test_any_file_system_of_fsspec_serves_a_scheme(tmp_path: Path) -> None:
    memory = MemoryFileSystem()
    memory.pipe("/birds/photos/0.tar", shard("a"))

    class Bucket(FsspecFiles):
        def below(self, location: str) -> list[str]:
            self._allowed.require(location)
            return [f"gs:/{path}" for path in memory.find(location.removeprefix("gs:/"))]

        def _path(self, location: str) -> str:
            return location.removeprefix("gs:/")

    reader = at(tmp_path, {"gs": Bucket(lambda: memory, EVERYWHERE, MOST)})
    found = describe(reader, "gs://birds/photos")
    assert found.shards[0].location == "gs://birds/photos/0.tar"
    assert captions(found, reader) == ["a red bar"]


def test_a_worker_without_a_scheme_says_so(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="gs:// locations need a server"):
        describe(at(tmp_path, {}), "gs://birds/photos")
