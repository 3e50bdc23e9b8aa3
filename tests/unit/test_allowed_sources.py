"""Where models and data may come from: what a policy permits, and what the gateway answers to the rest."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from support.memory_services import api_client
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.labelled import LabelTable
from touchstone_contracts.arms.prompts import TransformersWriter
from touchstone_contracts.catalogue import ArrayFile, Catalogue, Encoder, Generator, LinkTable, TarShard, Upstream
from touchstone_contracts.identity import identity
from touchstone_contracts.locations import LocatedDataset, LocatedTarget, LocatedUpstream
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed, hub_model, places_in
from touchstone_planning.sources import MOST_NAMED, require_allowed
from touchstone_runtime.settings import RuntimeSettings

NOTHING_ALLOWED = {"allowed_buckets": (), "allowed_hub": (), "allowed_hosts": ()}
"""As settings are when nothing is set."""
DIGEST, COMMIT = "0" * 64, "0123456789" * 4
POLICY = AllowedSources(
    library=("data/open", "models"),
    buckets=("shop/photos", "whole"),
    hub=("openai/clip", "laion/*"),
    hosts=("example.org", "*.example.com"),
)


@pytest.mark.parametrize(
    "place",
    [
        "library:data/open", "library:data/open/a/b.tar", "library:models/x", "library:models/",
        "s3://whole/a", "s3://shop/photos/1.tar", "s3://shop/photos/",
        f"hub:openai/clip@{COMMIT}", f"hub:laion/anything@{COMMIT}",
    ],
)  # fmt: skip
def test_what_is_allowed_passes(place: str) -> None:
    POLICY.require(place)


@pytest.mark.parametrize(
    "place",
    [
        "library:data", "library:data/opened", "library:other", "library:data/open/../closed", "library:/models/x",
        "library:models//x", "library:",
        "s3://shop", "s3://shop/photos-of-staff/1.tar", "s3://shop/other", "s3://shop/photos/../keys", "s3://wholesale/a",
        "s3://shop/photos/./x", "s3://touchstone/blobs/aa/bb",
        f"hub:openai/clip2@{COMMIT}", f"hub:openai/other@{COMMIT}", f"hub:laion@{COMMIT}", "hub:ViT-B-16@openai",
        "https://example.net/x", "https://example.org.evil.net/x", "ftp://example.org/x", "/etc/passwd", "",
        "gs://shop/other", "hf://datasets/openai/other/x", "hf://datasets/laion2/clip@main",
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused(place: str) -> None:
    with pytest.raises(SourceNotAllowed):
        POLICY.require(place)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.org", True), ("EXAMPLE.org.", True), ("a.example.com", True), ("a.b.example.com", True),
        ("www.example.org", False), ("example.com", False), ("badexample.com", False), ("example.org.evil.net", False),
        ("127.0.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_hosts_are_compared_whole(host: str, allowed: bool) -> None:
    assert POLICY.permits_host(host) is allowed
    assert AllowedSources(hosts=("*",)).permits_host(host)


def test_by_default_the_library_alone_may_be_read() -> None:
    policy = RuntimeSettings().allowed_sources
    assert policy == AllowedSources()
    policy.require("library:anything/below/it")
    for place in ("s3://shop/a", f"hub:openai/clip@{COMMIT}"):
        with pytest.raises(SourceNotAllowed, match=r"none \(set TOUCHSTONE_ALLOWED_(BUCKETS|HUB) "):
            policy.require(place)
    assert not policy.permits_host("example.org")


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        (LocatedUpstream(name="x", location="s3://shut/a"), ["/location"]),  # type: ignore[arg-type]
        (LocatedUpstream(name="x", location=("s3://shut/a",)), ["/location/0"]),
        (LocatedUpstream(name="x", location=("s3://shut/a", "s3://shut/b")), ["/location/0", "/location/1"]),
        (LocatedDataset(name="x", target="y", location="s3://shut/a"), ["/location"]),  # type: ignore[arg-type]
        (
            LocatedTarget.model_validate(
                {"name": "x", "splits": {"test": "s3://shut/a", "validation": ["s3://shut/b", "library:models"]}}
            ),
            ["/splits/validation/0", "/splits/test"],
        ),
    ],
)
def test_an_error_about_a_single_location_points_to_its_field(document: BaseModel, pointers: list[str]) -> None:
    with pytest.raises(SourceNotAllowed) as refused:
        require_allowed((POLICY,), document)
    assert [error.pointer for error in refused.value.errors] == pointers


def test_a_single_location_is_stored_and_compared_as_a_list_of_one() -> None:
    both = ("library:a", ["library:a"])
    single, listed = (LocatedUpstream.model_validate({"name": "x", "location": location}) for location in both)
    assert single == listed
    assert single.model_dump(mode="json") == listed.model_dump(mode="json")
    assert identity(single) == identity(listed)


def test_settings_are_lists_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_ALLOWED_BUCKETS", "shop/photos, whole")
    monkeypatch.setenv("TOUCHSTONE_ALLOWED_HUB", "*")
    monkeypatch.setenv("TOUCHSTONE_ALLOWED_LIBRARY", "")
    expected = AllowedSources(library=(), buckets=("shop/photos", "whole"), hub=("*",))
    assert RuntimeSettings().allowed_sources == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BUCKETS", "*"),
        ("BUCKETS", "s3://shop"),
        ("HUB", "clip"),
        ("HOSTS", "https://a.org"),
        ("LIBRARY", "../x"),
    ],
)
def test_a_pattern_that_would_not_mean_what_it_says_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"TOUCHSTONE_ALLOWED_{variable}", value)
    with pytest.raises(ValidationError, match=f"allowed_{variable.lower()}"):
        RuntimeSettings()


@pytest.mark.parametrize("revision", ["", "main", "v1.0", COMMIT[:7], COMMIT.upper().replace("0", "A"), COMMIT + "0"])
def test_a_hub_model_names_a_whole_commit(revision: str) -> None:
    assert hub_model(f"hub:owner/model@{COMMIT}") == ("owner/model", COMMIT)
    with pytest.raises(Invalid) as refused:
        hub_model(f"hub:owner/model@{revision}")
    assert refused.value.code == "hub_not_pinned"


def shard(place: str) -> TarShard:
    return TarShard(location=place, digest=DIGEST, images=1)


def links(place: str, embeddings: str) -> LinkTable:
    array = ArrayFile(location=embeddings, digest=DIGEST)
    return LinkTable(location=place, digest=DIGEST, images=1, image_embeddings=array)


REFUSED: dict[str, tuple[BaseModel, str, str]] = {
    "an upstream": (
        Upstream(name="u", index_encoder="e", shards=(shard("s3://whole/a"), shard("s3://other/b"))),
        "source_not_allowed", "/shards/1/location",
    ),
    "embeddings": (
        Upstream(name="u", index_encoder="e", shards=(links("s3://whole/a", "library:other.npy"),)),
        "source_not_allowed", "/shards/0/image_embeddings/location",
    ),
    "an encoder": (Encoder(name="e", model=f"hub:evil/model@{COMMIT}"), "source_not_allowed", "/model"),
    "a generator on a branch": (Generator(name="g", model="hub:laion/x@main"), "hub_not_pinned", "/model"),
    "a table of labels": (LabelTable(location="library:keys", digest=DIGEST, images=1), "source_not_allowed",
                          "/location"),
    "a writer of captions": (TransformersWriter(model=f"hub:evil/lm@{COMMIT}"), "source_not_allowed", "/model"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_every_place_of_a_document_is_asked_for(kind: str) -> None:
    document, code, pointer = REFUSED[kind]
    with pytest.raises(Invalid) as refused:
        require_allowed([POLICY], document)
    assert (refused.value.code, [error.pointer for error in refused.value.errors]) == (code, [pointer])


def test_every_kind_of_the_catalogue_is_walked() -> None:
    path = Path(__file__).parents[2] / "miniverse/catalogue.yaml"
    miniverse_catalogue = Catalogue.model_validate(yaml.safe_load(path.read_text()))
    found = [(type(holder).__name__, place) for _, place, holder in places_in(miniverse_catalogue)]
    assert {kind for kind, _ in found} >= {"Encoder", "Generator", "ParquetFile"}
    assert len(found) > 20
    require_allowed([AllowedSources()], miniverse_catalogue)
    with pytest.raises(SourceNotAllowed, match=rf"and {len(found) - 1} more") as refused:
        require_allowed([AllowedSources(library=())], miniverse_catalogue)
    assert len(refused.value.errors) == min(MOST_NAMED, len(found))


def test_links_need_a_host_that_they_may_lead_to() -> None:
    table = links("library:models/m.parquet", "library:models/e.npy")
    upstream = Upstream(name="u", index_encoder="e", shards=(table,))
    require_allowed([POLICY], upstream)
    with pytest.raises(SourceNotAllowed, match="TOUCHSTONE_ALLOWED_HOSTS"):
        require_allowed([POLICY.model_copy(update={"hosts": ()})], upstream)


@pytest.mark.parametrize(
    ("resource", "body"),
    [
        ("encoders", {"name": "e", "model": f"hub:evil/model@{COMMIT}"}),
        ("generators", {"name": "g", "model": f"hub:evil/model@{COMMIT}"}),
        ("upstreams", {"name": "u", "index_encoder": "e", "shards": [
            {"format": "webdataset", "location": "s3://other/a.tar", "digest": DIGEST, "images": 1}]}),
        ("datasets", {"name": "d", "target": "t", "images":
            {"format": "parquet", "location": "s3://other/a.parquet", "digest": DIGEST, "images": 1}}),
    ],
)  # fmt: skip
def test_the_gateway_registers_nothing_that_is_not_allowed(
    services: Services, resource: str, body: dict[str, object]
) -> None:
    api = api_client(replace(services, settings=services.settings.model_copy(update=NOTHING_ALLOWED)))
    answer = api.post(f"/v1/{resource}", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "source_not_allowed")
    assert "none (set TOUCHSTONE_ALLOWED_" in problem["detail"]
    assert [error["pointer"] for error in problem["errors"]] != []
    assert api.get(f"/v1/{resource}/{body['name']}").status_code == 404


def test_a_registered_name_is_used_under_a_policy_that_came_later(services: Services) -> None:
    """What is refused is to register, not to use what was allowed when it was registered."""
    encoder = Encoder(name="clip", model=f"hub:openai/clip@{COMMIT}")
    earlier = api_client(services).post("/v1/encoders", json=encoder.model_dump(mode="json"))
    strict = replace(services, settings=services.settings.model_copy(update=NOTHING_ALLOWED))
    later = api_client(strict).get(f"/v1/encoders/{encoder.name}")
    assert (earlier.status_code, later.status_code) == (201, 200)
