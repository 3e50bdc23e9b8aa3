"""An upstream, a target or a data set that is asked for by its location is looked at, registered and ingested, as if
its document had been posted."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from support.archives import tar_of, zip_of, zip_with_link
from support.memory_services import api_client, memory_services
from support.tiny_images import SHAPES, draw_shape, upstream_rows
from support.tiny_models import DIMENSION, tiny_encoder
from support.workers_here import WorkersHere, work_to_the_end, workers_here
from touchstone_api.bootstrap import Services
from touchstone_contracts.access import DEFAULT_PROJECT, Limits, NewKey
from touchstone_contracts.sources import ProjectSources
from touchstone_retrieval.settings import RetrievalSettings
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project, set_limits
from touchstone_store.tables import DescriptionRow

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Installation:
    api: TestClient
    services: Services
    workers: WorkersHere
    library: Path

    def ask(self, plural: str, document: Mapping[str, Any], status: int = 202) -> Any:
        answer = self.api.post(f"/v1/{plural}", json=document)
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, data: bytes) -> str:
        """Its id."""
        answer = self.api.post("/v1/uploads", content=data, headers={"Content-Type": "application/zip"})
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["id"]
        return found

    def work(self) -> None:
        work_to_the_end(self.services, self.workers)

    def get(self, path: str) -> Any:
        answer = self.api.get(f"/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    library = tmp_path / "library"
    services = memory_services(tmp_path)
    settings = RetrievalSettings(download_private_addresses=True, allowed_hosts=("127.0.0.1",))
    with (
        workers_here(services.artifacts, library, tmp_path, settings) as workers,
        api_client(services) as api,
    ):
        encoder = tiny_encoder(library, trained_on="tiny")
        assert api.post("/v1/encoders", json=encoder.model_dump(mode="json")).status_code == 201
        yield Installation(api, services, workers, library)


def shard(keys: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for key in range(keys):
            shape = SHAPES[key % len(SHAPES)]
            for name, data in ((f"{key}.png", draw_shape(shape, "red", RNG)), (f"{key}.txt", f"a {shape}".encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def class_folders(root: Path, *splits: str) -> None:
    for split in splits:
        for shape in SHAPES[:2]:
            for number in range(2):
                path = root / split / shape / f"{number} {split}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(draw_shape(shape, "red", RNG))


def test_files_of_a_web_server_become_a_searchable_upstream(
    installation: Installation, served: tuple[str, Path]
) -> None:
    address, folder = served
    (folder / "0.tar").write_bytes(shard(4))
    pq.write_table(pa.Table.from_pylist(upstream_rows(3)), folder / "images.parquet")
    asked = installation.ask("upstreams", {"name": "birds", "location": f"{address}/0.tar"})
    assert (asked["phase"], asked["registered"]) == ("queued", None)
    assert asked["asked"]["index_encoder"] == "tiny-clip"
    installation.ask("upstreams", {"name": "rows", "location": [f"{address}/images.parquet"]})
    installation.work()
    looked_at = installation.get("descriptions/upstream/birds")
    assert (looked_at["phase"], looked_at["registered"]) == ("succeeded", "/v1/upstreams/birds")
    found = [installation.get(f"upstreams/{name}") for name in ("birds", "rows")]
    assert [(each["phase"], each["images"], each["account"]["account"]["taken"]) for each in found] == [
        ("succeeded", 4, 4), ("succeeded", 3, 3),
    ]  # fmt: skip
    assert found[0]["upstream"]["shards"][0]["location"] == f"{address}/0.tar"


def write_pool(folder: Path, uids: list[str]) -> None:
    """A shard of DataComp, whose embeddings are those that the tiny encoder has for captions."""
    captions = [f"a {SHAPES[row % len(SHAPES)]}" for row in range(len(uids))]
    cells = {"uid": uids, "url": [f"https://example.org/{uid}.png" for uid in uids], "text": captions}
    pq.write_table(pa.table(cells | {"nsfw": [0.9, *[0.1] * (len(uids) - 1)]}), folder / "pool.parquet")
    rows = RNG.normal(size=(len(uids), DIMENSION)).astype(np.float16)
    np.savez(folder / "pool.npz", l14_img=rows, dedup_features=rows)


def test_a_pool_of_datacomp_is_added_by_its_location_alone(
    installation: Installation, served: tuple[str, Path]
) -> None:
    address, folder = served
    uids = [f"{row:032x}" for row in range(6)]
    write_pool(folder, uids)
    (folder / "chosen.txt").write_text("\n".join([*uids[:4], "f" * 32]))
    asked = {"name": "pool", "location": f"{address}/pool.parquet", "uids": f"{address}/chosen.txt"}
    choices = {"embeddings": "l14", "most_unsafe": 0.5, "placeholder_links": 7}
    installation.ask("upstreams", asked | choices)
    installation.work()
    found = installation.get("upstreams/pool")
    assert (found["phase"], found["images"], found["upstream"]["placeholder_links"]) == ("succeeded", 6, 7)
    assert [len(found["upstream"]["shards"]), found["upstream"]["shards"][0]["most_unsafe"]] == [1, 0.5]
    assert found["upstream"]["shards"][0]["image_embeddings"]["location"] == f"{address}/pool.npz"
    assert found["upstream"]["shards"][0]["image_embeddings"]["array"] == "l14_img"
    assert found["upstream"]["shards"][0]["uids"]["location"] == f"{address}/chosen.txt"
    account = found["account"]["account"]
    assert (account["seen"], account["taken"], account["refused"]["nsfw"]["count"]) == (4, 3, 1)
    assert account["notes"]["not_listed"] == {"count": 2, "names": []}
    told = installation.get("descriptions/upstream/pool")["notes"]
    assert told == [f"1 of 5 uids of {address}/chosen.txt are in no table"]


def test_links_without_embeddings_are_searched_by_their_captions(
    installation: Installation, served: tuple[str, Path]
) -> None:
    address, folder = served
    rows = [f"https://example.org/{row}.png\ta {SHAPES[row % len(SHAPES)]}\n" for row in range(5)]
    (folder / "cc12m.tsv").write_text("".join(rows))
    installation.ask("upstreams", {"name": "cc12m", "location": f"{address}/cc12m.tsv"})
    installation.work()
    found = installation.get("upstreams/cc12m")
    assert (found["phase"], found["images"], found["account"]["account"]["taken"]) == ("succeeded", 5, 5)
    assert found["upstream"]["shards"][0]["image_embeddings"] is None


def test_choices_of_links_are_refused_of_other_layouts(installation: Installation) -> None:
    document = {"name": "birds", "location": "library:x", "layout": "webdataset", "most_unsafe": 0.5}
    refused = installation.ask("upstreams", document, status=422)
    assert "are of layout links, not of webdataset" in str(refused["errors"])


def test_the_document_is_the_one_that_would_have_been_posted(
    installation: Installation, served: tuple[str, Path]
) -> None:
    address, folder = served
    (folder / "0.tar").write_bytes(shard(2))
    installation.ask("upstreams", {"name": "birds", "location": f"{address}/0.tar", "description": "of birds"})
    installation.work()
    document = installation.get("upstreams/birds")["upstream"]
    assert installation.api.post("/v1/upstreams", json=document).status_code == 200


def test_class_folders_become_a_target_and_its_splits_are_checked(installation: Installation) -> None:
    class_folders(installation.library / "my icons", "train", "val", "test")
    installation.ask("targets", {"name": "icons", "location": "library:my icons"})
    installation.ask(
        "targets", {"name": "twice", "splits": dict.fromkeys(("validation", "test"), "library:my icons/val")}
    )
    installation.work()
    target = installation.get("targets/icons")
    assert [label["display_name"] for label in target["classes"]] == sorted(SHAPES[:2])
    assert target["templates"]["synthesis"] == ["a photo of {article} {name}"]
    assert {name: split["images"] for name, split in target["splits"].items() if split} == {
        "train": 4, "validation": 4, "test": 4,
    }  # fmt: skip
    refused = installation.get("descriptions/target/twice")
    assert refused["phase"] == "failed"
    assert refused["problems"][0]["code"] == "splits_overlap"


def packed(folder: Path) -> bytes:
    return zip_of({path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")})


def test_an_uploaded_archive_becomes_an_upstream_and_a_target(installation: Installation, tmp_path: Path) -> None:
    class_folders(tmp_path / "my icons", "train", "val", "test")
    (tmp_path / "photos").mkdir()
    for number, shape in enumerate(SHAPES):
        (tmp_path / "photos" / f"{number}.png").write_bytes(draw_shape(shape, "blue", RNG))
    rows = "".join(f"{number}.png,a blue {shape}\n" for number, shape in enumerate(SHAPES))
    (tmp_path / "photos" / "metadata.csv").write_text(f"file_name,caption\n{rows}")
    ids = [installation.upload(packed(tmp_path / folder)) for folder in ("my icons", "photos")]
    installation.ask("targets", {"name": "icons", "location": f"upload://{ids[0]}"})
    installation.ask("upstreams", {"name": "photos", "location": f"upload://{ids[1]}"})
    installation.work()
    target, upstream = installation.get("targets/icons"), installation.get("upstreams/photos")
    assert target["splits"]["test"]["location"] == f"upload://{ids[0]}/test"
    assert (upstream["phase"], upstream["account"]["account"]["taken"]) == ("succeeded", len(SHAPES))
    assert installation.api.delete(f"/v1/uploads/{ids[1]}").status_code == 409


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zip_of({"../owl.png": b"x"}), "leads out of its folder"),
        (zip_with_link("owl.png", "/etc/passwd"), "symbolic link"),
        (tar_of({"/etc/owl.png": b"x"}), "leads out of its folder"),
        (zip_of({"a.png": b"x"})[:-30], "not a tar file"),
        (b"no archive", "not a tar file"),
    ],
)
def test_a_hostile_archive_is_refused_with_its_reason(installation: Installation, data: bytes, words: str) -> None:
    location = f"upload://{installation.upload(data)}"
    installation.ask("upstreams", {"name": "birds", "location": location})
    installation.work()
    failed = installation.get("descriptions/upstream/birds")
    assert failed["phase"] == "failed"
    assert words in failed["problems"][0]["detail"]


def test_a_data_set_has_the_classes_of_its_target(installation: Installation) -> None:
    class_folders(installation.library / "icons", "val", "test")
    class_folders(installation.library, "bought")
    bought = {"name": "bought", "target": "icons", "location": "library:bought", "origin": "real"}
    refused = installation.ask("datasets", bought, status=422)
    assert refused["code"] == "unknown_name"
    installation.ask("targets", {"name": "icons", "location": "library:icons", "classes": list(SHAPES[:2])})
    installation.work()
    installation.ask("datasets", bought)
    installation.work()
    assert installation.get("datasets/bought")["images"]["folders"] == list(SHAPES[:2])
    assert installation.get("datasets/bought")["origin"] == "real"


def test_the_same_again_is_the_same_and_another_location_needs_another_name(installation: Installation) -> None:
    class_folders(installation.library / "icons", "val", "test")
    wanted = {"name": "icons", "location": "library:icons"}
    first = installation.ask("targets", wanted)
    assert installation.ask("targets", wanted)["created_at"] == first["created_at"]
    assert installation.ask("targets", wanted | {"location": "library:other"}, status=409)["code"] == "name_taken"
    installation.work()
    assert installation.ask("targets", wanted)["registered"] == "/v1/targets/icons"
    assert installation.ask("targets", wanted | {"location": "library:other"}, status=409)["code"] == "name_taken"
    assert len(installation.get("descriptions")["items"]) == 1


def test_what_failed_says_why_and_may_be_asked_for_again_elsewhere(installation: Installation) -> None:
    installation.ask("targets", {"name": "icons", "location": "library:icnos"})
    installation.work()
    failed = installation.get("descriptions/target/icons")
    assert failed["phase"] == "failed"
    assert failed["problems"][0]["code"] == "place_missing"
    assert "library:icnos" in failed["problems"][0]["detail"]
    assert installation.api.get("/v1/targets/icons").status_code == 404
    class_folders(installation.library / "icons", "val", "test")
    installation.ask("targets", {"name": "icons", "location": "library:icons"})
    installation.work()
    assert installation.get("descriptions/target/icons")["phase"] == "succeeded"


def test_one_that_was_cancelled_is_not_looked_at(installation: Installation) -> None:
    class_folders(installation.library / "icons", "val", "test")
    installation.ask("targets", {"name": "icons", "location": "library:icons"})
    cancelled = installation.api.post("/v1/descriptions/target/icons/cancel").json()
    assert cancelled["phase"] == "cancelled"
    installation.work()
    assert installation.api.get("/v1/targets/icons").status_code == 404
    assert not installation.workers.done


def test_a_name_that_was_taken_meanwhile_is_told(installation: Installation, served: tuple[str, Path]) -> None:
    address, folder = served
    (folder / "0.tar").write_bytes(shard(2))
    installation.ask("upstreams", {"name": "birds", "location": f"{address}/0.tar"})
    installation.work()
    document = installation.get("upstreams/birds")["upstream"]
    installation.ask("upstreams", {"name": "others", "location": f"{address}/0.tar"})
    installation.ask("upstreams", document | {"name": "others", "most_losses": 0.5}, status=201)
    installation.work()
    told = installation.get("descriptions/upstream/others")
    assert (told["phase"], told["problems"][0]["code"]) == ("failed", "name_taken")


def test_locations_that_are_not_allowed_are_refused_when_they_are_posted(installation: Installation) -> None:
    locations = ["s3://secret/x", "gs://secret/x"]
    refused = installation.ask("upstreams", {"name": "birds", "location": locations}, status=403)
    assert refused["code"] == "source_not_allowed"
    assert [error["pointer"] for error in refused["errors"]] == ["/location/0", "/location/1"]
    refused = installation.ask("upstreams", {"name": "birds", "location": "s3://secret/x"}, status=403)
    assert [error["pointer"] for error in refused["errors"]] == ["/location"]
    with installation.services.store.write() as session:
        set_limits(session, DEFAULT_PROJECT, Limits(sources=ProjectSources(library=("open", "models"))))
    for location in ("https://example.org/a.tar", "hf://datasets/owner/birds", "library:closed/x"):
        assert installation.ask("upstreams", {"name": "birds", "location": location}, status=403)["errors"]
    assert installation.ask("upstreams", {"name": "birds", "location": "library:open/x"})["phase"] == "queued"


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"name": "birds", "location": "ftp://example.org/x"}, "/location"),
        ({"name": "birds", "location": "https://user:secret@example.org/x"}, "/location"),
        ({"name": "birds", "location": "https://example.org/x?signature=secret"}, "/location"),
        ({"name": "birds", "location": "library:../x"}, "/location"),
        ({"name": "birds", "location": []}, "/location"),
        ({"name": "birds", "location": "library:x", "layout": "zip"}, "/layout"),
        ({"name": "birds", "location": "library:x", "uids": "uids.npy"}, "/uids"),
        ({"name": "birds", "location": "library:x", "most_unsafe": 2}, "/most_unsafe"),
        ({"name": "birds", "location": "library:x", "shards": []}, "/shards"),
        ({"name": "birds", "location": "library:x", "index_encoder": "unknown"}, "/index_encoder"),
        ({"name": "birds"}, "/shards"),
    ],
)
def test_what_is_no_location_is_refused_with_its_pointer(
    installation: Installation, document: dict[str, Any], pointer: str
) -> None:
    refused = installation.ask("upstreams", document, status=422)
    assert pointer in [error["pointer"] for error in refused["errors"]]


def test_without_a_word_about_the_encoder_there_must_be_one(installation: Installation) -> None:
    encoder = installation.get("encoders/tiny-clip") | {"name": "other-clip"}
    assert installation.api.post("/v1/encoders", json=encoder).status_code == 201
    refused = installation.ask("upstreams", {"name": "birds", "location": "library:x"}, status=422)
    assert refused["errors"][0]["pointer"] == "/index_encoder"
    assert "other-clip and tiny-clip" in refused["detail"]


def test_a_conductor_that_ended_before_it_noted_that_it_registered_does_so_again(installation: Installation) -> None:
    class_folders(installation.library / "icons", "val", "test")
    installation.ask("targets", {"name": "icons", "location": "library:icons"})
    installation.work()
    with installation.services.store.write() as session:
        row = session.get_one(DescriptionRow, ("target", DEFAULT_PROJECT, "icons"))
        row.registered_at, step = None, row.step_id
    installation.work()
    assert installation.get("descriptions/target/icons")["phase"] == "succeeded"
    assert len(installation.workers.done) == 1

    with installation.services.store.write() as session:
        session.get_one(DescriptionRow, ("target", DEFAULT_PROJECT, "icons")).registered_at = None
    installation.services.artifacts.forget(step)
    installation.work()
    assert installation.get("descriptions/target/icons")["phase"] == "succeeded"
    assert len(installation.workers.done) == 2


def test_a_description_is_found_by_its_kind_and_name_in_its_project(installation: Installation) -> None:
    installation.ask("targets", {"name": "icons", "location": "library:icons"})
    installation.ask("upstreams", {"name": "birds", "location": "library:birds"})
    found = installation.get("descriptions?limit=1")
    rest = installation.get(f"descriptions?limit=1&cursor={found['next_cursor']}")
    assert [(each["kind"], each["name"]) for each in (*found["items"], *rest["items"])] == [
        ("target", "icons"), ("upstream", "birds"),
    ]  # fmt: skip
    assert installation.api.get("/v1/descriptions/upstream/icons").status_code == 404
    assert installation.api.get("/v1/descriptions/encoder/icons").status_code == 422
    with installation.services.store.write() as session:
        other = create_project(session, "other", Limits(), datetime.now(UTC))
        key = create_key(session, other, NewKey(label="other", scope="write"), datetime.now(UTC)).key
    as_other = {"Authorization": f"Bearer {key}"}
    assert installation.api.get("/v1/descriptions/target/icons", headers=as_other).status_code == 404
    assert installation.api.get("/v1/descriptions", headers=as_other).json()["items"] == []
