"""Link rot over HTTP: requested, obtained, why not, class by class."""

import re

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, finish_only, post, post_experiment, register_all
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import ArrayFile, LinkTable, Upstream
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import ImagesDownloaded
from touchstone_contracts.values import Blob
from touchstone_store.layouts import downloads_of

TABLE = LinkTable(
    location="s3://laion/metadata_0.parquet",
    digest=sha256(b"metadata"),
    images=100,
    image_embeddings=ArrayFile(location="s3://laion/img_emb_0.npy", digest=sha256(b"img_emb")),
)
BLOB = Blob(digest=sha256(b"blob"), size=4)


def downloaded(obtained: int, topped_up: int, **reasons: int) -> ImagesDownloaded:
    images = ImageSet(manifest=BLOB, shards=(), count=obtained)
    return ImagesDownloaded(images=images, requested=5, rejected=reasons, topped_up=topped_up, links=BLOB)


@pytest.fixture
def told(services: Services) -> Told:
    """One arm that retrieves links; of three classes the downloads of two are finished."""
    lookup = DictLookup()
    lookup.upstreams["world"] = Upstream(name="world", shards=(TABLE,), index_encoder="clip")
    register_all(services, lookup)
    told = post(services, spec(targets=("fine",), arms=(NoTraining(), Retrieval(name="retrieved"))), lookup)
    with services.store.read() as session:
        downloads = downloads_of(session, told.plan.curations["fine", "retrieved"])
    assert list(downloads) == [0, 1, 2]
    first, last = downloaded(5, 2, not_found=2, timeout=1), downloaded(1, 0, opted_out=9)
    finish_only(services, told, {downloads[0]: first, downloads[2]: last})
    return told


def test_link_rot_is_told_of_every_class_that_was_downloaded(told: Told, api: TestClient) -> None:
    report = api.get(f"/v1/experiments/{told.id}/arms/retrieved/links").json()
    assert (report["target"], report["arm"]) == ("fine", "retrieved")
    each = [(of["class_id"], of["requested"], of["obtained"], of["topped_up"]) for of in report["classes"]]
    assert each == [(0, 5, 5, 2), (2, 5, 1, 0)]
    assert [of["reasons"] for of in report["classes"]] == [{"not_found": 2, "timeout": 1}, {"opted_out": 9}]
    assert report["classes"][0]["display_name"] == "thing 0"


def test_the_page_shows_link_rot_in_total_and_the_most_rotten_class_first(told: Told, api: TestClient) -> None:
    section = api.get(f"/experiments/{told.id}").text.split('id="links"')[1].split("</section>")[0]
    rows = [
        re.sub(r"\s*<[^>]+>\s*", "|", row).strip("|") for row in re.findall("<tr>(<th scope=.row.*?)</tr>", section)
    ]
    assert [re.sub(r"\|+", "|", row) for row in rows] == [
        "fine|retrieved|10|6|2|opted out 9, not found 2, timeout 1",
        "thing 2|5|1|0|opted out 9",
        "thing 0|5|5|2|not found 2, timeout 1",
    ]


def test_a_page_without_links_says_nothing_of_them(services: Services, api: TestClient) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    assert "Images behind retrieved links" not in api.get(f"/experiments/{told.id}").text


def test_an_arm_whose_upstream_has_its_images_has_no_link_report(services: Services, api: TestClient) -> None:
    told = post_experiment(services)
    for arm in ("retrieved", "synthetic"):
        answer = api.get(f"/v1/experiments/{told.id}/arms/{arm}/links", params={"target": "fine"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
