"""A worker refuses by its own settings what the gateway should not have let through, before anything is fetched."""

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from minio import Minio
from support.killed_steps import MortalWorker
from support.link_sets import store_links
from support.tiny_images import draw_shape
from support.web import Page, Web, serving
from touchstone_contracts.catalogue import ClassFolders, ImageFolder, ParquetFile
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed
from touchstone_contracts.steps import DOWNLOAD_IMAGES, DownloadImages
from touchstone_encoders.loading import EncoderCache
from touchstone_retrieval import tasks
from touchstone_retrieval.download.fetching import Fetcher, Limits, open_session
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.ingest.folder_source import in_image_folder
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_retrieval.tools import Tools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import listing_digest
from touchstone_runtime.library import Library
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.s3_connections import connect_s3
from touchstone_runtime.s3_files import S3Files
from touchstone_runtime.settings import RuntimeSettings

SHOP = AllowedSources(buckets=("allowed/photos",))
LIMITS = Limits(timeout_seconds=5, retry_after_seconds=0)


@pytest.fixture
def client(s3_objects: S3Objects, s3_settings: RuntimeSettings) -> Minio:
    client = connect_s3(s3_settings)
    for bucket in ("allowed", "closed"):
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)
        for key in ("photos/a.png", "photos-of-staff/a.png"):
            client.put_object(bucket, key, BytesIO(b"bytes"), 5)
    return client


def test_a_worker_reads_the_allowed_prefix_alone(client: Minio, s3_settings: RuntimeSettings, tmp_path: Path) -> None:
    files = S3Files(client, SHOP)
    assert files.below("s3://allowed/photos/") == ["s3://allowed/photos/a.png"]
    files.fetch("s3://allowed/photos/a.png", tmp_path / "a")
    closed = (
        "s3://allowed/photos-of-staff/a.png", "s3://allowed", "s3://closed/photos/a.png", "s3://closed/nothing",
        f"s3://{s3_settings.s3_bucket}/steps/",
    )  # fmt: skip
    for location in closed:
        for read in (lambda location: files.fetch(location, tmp_path / "b"), files.below):
            with pytest.raises(SourceNotAllowed) as refused:
                read(location)
            assert refused.value.detail.startswith(f"{location} may not be read. Allowed buckets: allowed/photos (set ")
        with pytest.raises(SourceNotAllowed):
            files.fetch_folder(location, tmp_path / "folder", in_image_folder)
    assert not (tmp_path / "b").exists()


def test_a_folder_of_the_object_store_that_changed_is_not_described(client: Minio, tmp_path: Path) -> None:
    reader = LocationReader(Library(tmp_path), S3Files(client, SHOP))
    folder = ImageFolder(location="s3://allowed/photos", digest="0" * 64, images=7)
    with pytest.raises(Invalid) as refused, opened(folder, reader):
        pass
    assert refused.value.code == "digest_mismatch"
    assert sha256(b"bytes") not in refused.value.detail
    assert "1" not in refused.value.detail


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Photos of two classes, and a caption and a picture that lead out of them."""
    (tmp_path / "secret.env").write_text("TOUCHSTONE_S3_SECRET_KEY=hidden-word")
    for name in ("photos/red", "photos/blue", "photos/strangers"):
        (tmp_path / "library" / name).mkdir(parents=True)
        (tmp_path / "library" / name / "a.png").write_bytes(b"pixels")
    return tmp_path / "library"


def test_a_caption_that_is_a_link_publishes_nothing(library: Path, tmp_path: Path) -> None:
    """With the digest that the folder has when the link is followed, as an earlier release computed it."""
    red = library / "photos/red"
    (red / "a.txt").write_bytes((tmp_path / "secret.env").read_bytes())
    digest = listing_digest(red, [red / "a.png", red / "a.txt"])
    (red / "a.txt").unlink()
    (red / "a.txt").symlink_to(tmp_path / "secret.env")
    source = ImageFolder(location="library:photos/red", digest=digest, images=1)
    reader = LocationReader(Library(library), None)
    with pytest.raises(Invalid, match=r"a\.txt leads out") as refused, opened(source, reader):
        pass
    assert refused.value.code == "link_leads_out"


@pytest.mark.parametrize("linked", ["a.png", "."])
def test_a_class_that_is_a_link_is_not_read(library: Path, tmp_path: Path, linked: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.png").write_bytes(b"pixels")
    link = library / "photos/blue" / linked
    if linked == ".":
        link = library / "photos/blue"
        (link / "a.png").unlink()
        link.rmdir()
        link.symlink_to(tmp_path / "outside")
    else:
        link.unlink()
        link.symlink_to(tmp_path / "outside/a.png")
    source = ClassFolders(location="library:photos", digest="0" * 64, images=2, folders=("red", "blue"))
    with pytest.raises(Invalid) as refused, opened(source, LocationReader(Library(library), None)):
        pass
    assert refused.value.code == "link_leads_out"


def test_a_wrong_digest_tells_neither_the_right_one_nor_names_nor_counts(library: Path) -> None:
    reader = LocationReader(Library(library), None)
    (library / "table.parquet").write_bytes(b"no table")
    sources = (
        ImageFolder(location="library:photos/red", digest="0" * 64, images=9),
        ClassFolders(location="library:photos", digest="0" * 64, images=9, folders=("red", "blue")),
        ParquetFile(location="library:table.parquet", digest="0" * 64, images=9),
    )
    for source in sources:
        with pytest.raises(Invalid) as refused, opened(source, reader):
            pass
        assert refused.value.code == "digest_mismatch"
        detail = refused.value.detail.replace(source.location, "").replace("0" * 64, "")
        assert not any(character.isdigit() for character in detail)
        assert "strangers" not in detail
        assert "a.png" not in detail


@pytest.fixture
def web() -> Iterator[Web]:
    with serving({"/picture": Page(b"picture")}) as web:
        yield web


def fetched(url: str, *hosts: str) -> bytes | str:
    async def fetch() -> bytes | str:
        async with open_session(True, AllowedSources(hosts=hosts)) as session:
            return await Fetcher(session, LIMITS).fetch(url)

    return asyncio.run(fetch())


def test_a_link_leads_to_allowed_hosts_alone_and_so_does_a_redirect(web: Web) -> None:
    port = web.address.rpartition(":")[2]
    web.pages["/away"] = Page(status=302, headers={"Location": f"http://localhost:{port}/picture"})
    web.pages["/here"] = Page(status=302, headers={"Location": "/picture"})
    assert fetched(web.url("/picture"), "127.0.0.1") == b"picture"
    assert fetched(web.url("/here"), "127.0.0.1") == b"picture"
    assert fetched(web.url("/away"), "127.0.0.1", "localhost") == b"picture"
    web.asked.clear()
    assert fetched(web.url("/away"), "127.0.0.1") == "host_not_allowed"
    assert web.asked == ["/away"]
    for hosts in ((), ("example.org",), ("*.0.0.1",)):
        assert fetched(web.url("/picture"), *hosts) == "host_not_allowed"
    assert web.asked == ["/away"]


@pytest.fixture
def worker(tmp_path: Path) -> MortalWorker:
    """Its own settings allow two names of the test's web server."""
    worker_library = Library(tmp_path, AllowedSources(hosts=("127.0.0.1", "localhost")))

    def tools(artifacts: Artifacts) -> Tools:
        encoders, index = EncoderCache(worker_library, torch.device("cpu")), QdrantEdgeIndex(tmp_path / "index")
        return Tools(artifacts, worker_library, encoders, index, private_addresses=True)

    return MortalWorker(tasks.handlers, tools)


@pytest.mark.parametrize(
    ("hosts", "refused"),
    [
        (None, 0),
        (("127.0.0.1",), 1),
        (("127.0.0.1", "localhost"), 0),
        (("*.example.org",), 2),
        ((), 2),
    ],
)
def test_a_worker_follows_links_to_the_hosts_of_the_project_alone(
    worker: MortalWorker, web: Web, hosts: tuple[str, ...] | None, refused: int
) -> None:
    rng = np.random.default_rng(0)
    web.pages |= {f"/{number}": Page(draw_shape("bar", "red", rng)) for number in range(2)}
    urls = [web.url("/0"), web.url("/1").replace("127.0.0.1", "localhost")]
    links = store_links(worker.artifacts, "found", urls)
    request = DownloadImages(wanted=links, reserve=links, class_id=0, hosts=hosts)
    result = worker.run(DOWNLOAD_IMAGES, request).result
    assert result["rejected"] == ({"host_not_allowed": refused} if refused else {})
    assert result["images"]["count"] == len(web.asked) == 2 - refused


def test_a_project_cannot_add_a_host_to_those_of_the_worker(worker: MortalWorker, web: Web) -> None:
    links = store_links(worker.artifacts, "found", [web.url("/picture").replace("127.0.0.1", "elsewhere.localhost")])
    request = DownloadImages(wanted=links, reserve=links, class_id=0, hosts=("*.localhost",))
    assert worker.run(DOWNLOAD_IMAGES, request).result["rejected"] == {"host_not_allowed": 1}
    assert web.asked == []
