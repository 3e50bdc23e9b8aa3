"""Link rot over HTTP: requested, obtained, why not, class by class."""

from datetime import UTC, datetime

from fastapi.testclient import TestClient
from support.finished_experiments import post_experiment, write_result
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_api.experiments.plan import plan_experiment
from touchstone_api.experiments.resolve import resolve
from touchstone_api.results.links import downloads_of
from touchstone_api.store.catalogue import register
from touchstone_api.submission import submit_experiment
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import ArrayFile, LinkTable, Upstream
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import ImagesDownloaded
from touchstone_contracts.values import Blob

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


def test_link_rot_is_told_of_every_class_that_was_downloaded(services: Services, api: TestClient) -> None:
    lookup = DictLookup()
    lookup.upstreams["world"] = Upstream(name="world", shards=(TABLE,), index_encoder="clip")
    with services.store.write() as session:
        register(session, lookup.encoders["clip"], datetime.now(UTC))
        register(session, lookup.upstreams["world"], datetime.now(UTC))
        register(session, lookup.targets["fine"], datetime.now(UTC))
    experiment = spec(targets=("fine",), arms=(NoTraining(), Retrieval(name="retrieved")))
    posted = submit_experiment(services, experiment)
    plan = plan_experiment(resolve(experiment, lookup))
    downloads = downloads_of(plan, plan.curations["fine", "retrieved"])
    assert list(downloads) == [0, 1, 2]
    write_result(services.artifacts, downloads[0], "download_images", downloaded(5, 2, not_found=2, timeout=1))
    write_result(services.artifacts, downloads[2], "download_images", downloaded(1, 0, opted_out=9))
    report = api.get(f"/v1/experiments/{posted.id}/arms/retrieved/links").json()
    assert (report["target"], report["arm"]) == ("fine", "retrieved")
    told = [(each["class_id"], each["requested"], each["obtained"], each["topped_up"]) for each in report["classes"]]
    assert told == [(0, 5, 5, 2), (2, 5, 1, 0)]
    assert [each["reasons"] for each in report["classes"]] == [{"not_found": 2, "timeout": 1}, {"opted_out": 9}]
    assert report["classes"][0]["display_name"] == "thing 0"


def test_an_arm_whose_upstream_has_its_images_has_no_link_report(services: Services, api: TestClient) -> None:
    told = post_experiment(services)
    for arm in ("retrieved", "synthetic"):
        answer = api.get(f"/v1/experiments/{told.id}/arms/{arm}/links", params={"target": "fine"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
