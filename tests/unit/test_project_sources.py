"""Lists of sources for each project: what they refuse at the gateway, and what another project still may."""

import io
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from sqlalchemy import select
from support.memory_services import api_client, register_everything
from support.specs import DictLookup, spec
from touchstone.access_tables import SOURCES, print_project
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_api.projects import carry_out, main, parse_arguments
from touchstone_contracts.access import Limits, NewKey, ProjectView, Use
from touchstone_contracts.arms.labelled import Labelled, LabelTable
from touchstone_contracts.catalogue import ArrayFile, LinkTable
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources, ProjectSources, SourceNotAllowed
from touchstone_contracts.steps import DownloadImages
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project, project_named, set_limits
from touchstone_store.tables import StepRow

NOW = datetime.now(UTC)
DIGEST, COMMIT = "0" * 64, "0123456789" * 4
INSTALLATION = {
    "allowed_library": ("*",), "allowed_buckets": ("shop", "closed"), "allowed_hub": ("openai/*", "laion/*"),
    "allowed_hosts": ("*.example.org", "*.example.com"),
}  # fmt: skip
BIRDS = ProjectSources(
    library=("data/birds", "models"), buckets=("shop/photos",), hub=("openai/*",), hosts=("*.example.org",)
)
WITHOUT_LISTS = "5a7f8d4dea66fd4df820d3b825f1a0695af9d56167f6ba4c6312a3e6d55faa59"
"""Digest of the ids of the downloads of `link_plan` without a list: another version of a step before moves it."""
DOCUMENT = spec().model_dump(mode="json")


@dataclass(frozen=True)
class Projects:
    """`birds` has a list of sources, `default` has none, and the installation's settings hold for both."""

    services: Services
    birds: TestClient
    default: TestClient

    def narrow(self, project: str, sources: ProjectSources | None) -> None:
        with self.services.store.write() as session:
            set_limits(session, project_named(session, project).id, Limits(sources=sources))

    def share_everything(self) -> None:
        """Of `default`."""
        for plural in ("upstreams", "targets", "datasets", "encoders", "generators"):
            for entry in self.default.get(f"/v1/{plural}").json()["items"]:
                shared = self.default.put(f"/v1/{plural}/{entry['name']}/share")
                assert shared.status_code == 204, shared.text

    def hosts_of_downloads(self) -> set[tuple[str, ...] | None]:
        """Of all steps that are stored."""
        with self.services.store.read() as session:
            requests = session.scalars(select(StepRow.request).where(StepRow.kind == "download_images")).all()
        assert requests
        return {tuple(request["hosts"]) if "hosts" in request else None for request in requests}


@pytest.fixture
def projects(services: Services) -> Projects:
    services = replace(services, settings=services.settings.model_copy(update=INSTALLATION))
    with services.store.write() as session:
        project = create_project(session, "birds", Limits(sources=BIRDS), NOW)
        key = create_key(session, project, NewKey(label="ana", scope="admin"), NOW).key
    headers = {"Authorization": f"Bearer {key}"}
    birds = TestClient(create_app(services), base_url="http://localhost", headers=headers)
    return Projects(services, birds, api_client(services))


def shard(location: str) -> dict[str, Any]:
    return {"format": "webdataset", "location": location, "digest": DIGEST, "images": 1}


def links(
    location: str = "library:data/birds/l.parquet", embeddings: str = "library:data/birds/e.npy"
) -> dict[str, Any]:
    array = ArrayFile(location=embeddings, digest=DIGEST)
    return LinkTable(location=location, digest=DIGEST, images=500, image_embeddings=array).model_dump(mode="json")


def encoder(model: str, name: str = "e") -> dict[str, Any]:
    return {"name": name, "model": model, "digest": DIGEST, "trained_on": "world"}


def upstream(*shards: dict[str, Any], name: str = "u") -> dict[str, Any]:
    return {"name": name, "index_encoder": "clip", "shards": list(shards)}


def dataset(location: str) -> dict[str, Any]:
    return {"name": "d", "target": "fine", "images": shard(location) | {"format": "parquet"}}


def require_refused(answer: Any, *pointers: str) -> str:
    """The reason of the project's list."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "source_not_allowed"), problem
    assert [error["pointer"] for error in problem["errors"]] == list(pointers)
    detail: str = problem["detail"]
    assert "TOUCHSTONE_ALLOWED" not in detail
    assert "ask the operator" in detail
    return detail


@pytest.mark.parametrize(
    ("plural", "allowed", "refused", "pointer", "reason"),
    [
        ("encoders", encoder("library:models/clip"), encoder("library:other/clip"), "/model",
         "library folders: data/birds and models"),
        ("encoders", encoder(f"hub:openai/clip@{COMMIT}"), encoder(f"hub:laion/clip@{COMMIT}"), "/model",
         "hub repositories: openai/*"),
        ("datasets", dataset("s3://shop/photos/1.parquet"), dataset("s3://shop/photos-of-staff/1.parquet"),
         "/images/location", "buckets: shop/photos"),
        ("datasets", dataset("s3://shop/photos/1.parquet"), dataset("s3://closed/1.parquet"), "/images/location",
         "buckets: shop/photos"),
        ("datasets", dataset("library:data/birds/1.parquet"), dataset("library:data/1.parquet"), "/images/location",
         "library folders: data/birds and models"),
    ],
)  # fmt: skip
def test_a_project_registers_what_its_list_permits_and_another_is_not_affected(
    projects: Projects, plural: str, allowed: dict[str, Any], refused: dict[str, Any], pointer: str, reason: str
) -> None:
    detail = require_refused(projects.birds.post(f"/v1/{plural}", json=refused), pointer)
    assert f"may not be read by this project. This project may read {reason}; ask the operator" in detail
    assert projects.birds.get(f"/v1/{plural}/{refused['name']}").status_code == 404
    assert projects.default.post(f"/v1/{plural}", json=refused).status_code == 201
    assert projects.birds.post(f"/v1/{plural}", json=allowed).status_code == 201


def test_an_upstream_is_held_to_the_list_with_all_its_shards(projects: Projects) -> None:
    assert projects.birds.post("/v1/encoders", json=encoder("library:models/clip", "clip")).status_code == 201
    mixed = upstream(shard("s3://shop/photos/1.tar"), shard("s3://shop/2.tar"), shard("s3://closed/3.tar"))
    detail = require_refused(
        projects.birds.post("/v1/upstreams", json=mixed), "/shards/1/location", "/shards/2/location"
    )
    assert detail.endswith("(and 1 more)")
    assert projects.birds.post("/v1/upstreams", json=upstream(shard("s3://shop/photos/1.tar"))).status_code == 201


def test_links_need_a_host_in_the_list_of_the_project(projects: Projects) -> None:
    for api in (projects.birds, projects.default):
        assert api.post("/v1/encoders", json=encoder("library:models/clip", "clip")).status_code == 201
    projects.narrow("birds", BIRDS.model_copy(update={"hosts": ()}))
    detail = require_refused(projects.birds.post("/v1/upstreams", json=upstream(links())), "/shards/0/location")
    assert "This project may read hosts: none" in detail
    assert projects.default.post("/v1/upstreams", json=upstream(links())).status_code == 201
    projects.narrow("birds", BIRDS)
    assert projects.birds.post("/v1/upstreams", json=upstream(links())).status_code == 201


@pytest.mark.parametrize(
    ("plural", "body", "setting"),
    [
        ("encoders", encoder(f"hub:evil/clip@{COMMIT}"), "HUB"),
        ("datasets", dataset("s3://other/1.parquet"), "BUCKETS"),
        ("encoders", encoder("library:private/clip"), "LIBRARY"),
    ],
)
def test_a_list_never_widens_what_the_installation_allows(
    projects: Projects, plural: str, body: dict[str, Any], setting: str
) -> None:
    everything = ProjectSources(library=("*",), buckets=("other", "shop"), hub=("*",), hosts=("*",))
    projects.narrow("birds", everything)
    settings = projects.services.settings.model_copy(update={"allowed_library": ("models",)})
    strict = create_app(replace(projects.services, settings=settings))
    answer = TestClient(strict, base_url="http://localhost", headers=dict(projects.birds.headers)).post(
        f"/v1/{plural}", json=body
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "source_not_allowed")
    assert f"(set TOUCHSTONE_ALLOWED_{setting} on the gateway and the workers)" in problem["detail"]
    assert len(problem["errors"]) == 1


def test_what_is_left_out_of_a_list_is_as_a_setting_that_is_unset() -> None:
    assert ProjectSources().model_dump() == AllowedSources().model_dump()
    assert ProjectSources(hub=("openai/*",)).library == ("*",)
    assert ProjectSources(hub=("openai/*",)).buckets == ()


def with_labels(location: str) -> dict[str, Any]:
    table = LabelTable(location=location, digest=DIGEST, images=50)
    return spec(arms=(Labelled(name="truth", labels=table),), sizes=(3,), targets=("fine",)).model_dump(mode="json")


def test_a_table_that_a_spec_names_is_held_to_the_list(projects: Projects) -> None:
    projects.narrow("birds", None)
    register_everything(projects.birds)
    projects.narrow("birds", ProjectSources(buckets=("shop/photos",)))
    refused = with_labels("s3://closed/truth.parquet")
    for path in ("", "/validate", "/estimate"):
        require_refused(projects.birds.post(f"/v1/experiments{path}", json=refused), "/arms/0/labels/location")
        allowed = projects.birds.post(f"/v1/experiments{path}", json=with_labels("s3://shop/photos/truth.parquet"))
        assert allowed.status_code in {200, 201}, allowed.text


def test_what_was_registered_before_the_list_is_not_used_by_a_new_experiment(projects: Projects) -> None:
    projects.narrow("birds", None)
    for api in (projects.birds, projects.default):
        register_everything(api)
    earlier = projects.birds.post("/v1/experiments", json=DOCUMENT)
    projects.narrow("birds", ProjectSources(library=("s0.parquet", "s1.parquet", "clip", "broad-validation.parquet")))
    pointers = ("/targets/0", "/targets/1", "/arms/2/generator")
    for path in ("", "/validate", "/estimate"):
        detail = require_refused(projects.birds.post(f"/v1/experiments{path}", json=DOCUMENT), *pointers)
        assert detail.startswith("target 'fine': library:fine-validation.parquet may not be read by this project.")
    assert projects.birds.get("/v1/targets/fine").status_code == 200
    going_on = f"/v1/experiments/{earlier.json()['id']}"
    assert projects.birds.post(f"{going_on}/cancel").json()["phase"] == "cancelled"
    assert projects.birds.post(f"{going_on}/retry").json()["phase"] == "queued"
    assert projects.default.post("/v1/experiments", json=DOCUMENT).status_code == 201
    projects.narrow("birds", ProjectSources())
    assert projects.birds.post("/v1/experiments", json=DOCUMENT).status_code == 200


def test_an_index_encoder_from_before_the_list_ingests_nothing(projects: Projects) -> None:
    projects.narrow("birds", None)
    assert projects.birds.post("/v1/encoders", json=encoder("library:clip", "clip")).status_code == 201
    projects.narrow("birds", BIRDS)
    answer = projects.birds.post("/v1/upstreams", json=upstream(shard("s3://shop/photos/1.tar")))
    require_refused(answer, "/index_encoder")


def test_what_another_project_shares_may_be_used_whatever_the_own_list_says(projects: Projects) -> None:
    register_everything(projects.default)
    unknown = projects.birds.post("/v1/experiments", json=DOCUMENT).json()
    assert unknown["code"] == "unknown_name"
    projects.share_everything()
    assert projects.birds.post("/v1/experiments", json=DOCUMENT).status_code == 201


def test_what_is_shared_is_held_to_the_list_of_its_owner_which_is_not_told(projects: Projects) -> None:
    register_everything(projects.default)
    projects.share_everything()
    projects.narrow("default", ProjectSources(library=("s0.parquet", "s1.parquet", "clip", "fine-by-hand", "secret")))
    pointers = ("/targets/0", "/targets/1", "/arms/2/generator")
    detail = require_refused(projects.birds.post("/v1/experiments", json=DOCUMENT), *pointers)
    assert detail.startswith("target 'fine' may not be read by the project that shares it any more")
    assert "secret" not in detail


def links_everywhere(api: TestClient) -> None:
    """What a spec names, with an upstream of links instead of one of images."""
    lookup = DictLookup()
    for plural, entries in (
        ("encoders", lookup.encoders), ("generators", lookup.generators), ("targets", lookup.targets),
        ("datasets", lookup.datasets),
    ):  # fmt: skip
        for entry in entries.values():
            assert api.post(f"/v1/{plural}", json=entry.model_dump(mode="json")).status_code == 201
    assert api.post("/v1/upstreams", json=upstream(links(), name="world")).status_code == 201


def test_workers_are_told_the_hosts_of_the_project_that_has_the_upstream(projects: Projects) -> None:
    links_everywhere(projects.default)
    assert projects.default.post("/v1/experiments", json=DOCUMENT).status_code == 201
    assert projects.hosts_of_downloads() == {None}
    projects.narrow("birds", ProjectSources(hosts=("b.example.org", "*.example.com", "b.example.org")))
    links_everywhere(projects.birds)
    assert projects.birds.post("/v1/experiments", json=DOCUMENT).status_code == 201
    assert projects.hosts_of_downloads() == {None, ("*.example.com", "b.example.org")}


def test_links_of_a_shared_upstream_lead_where_its_owner_may_go(projects: Projects) -> None:
    projects.narrow("default", ProjectSources(hosts=("a.example.org",)))
    links_everywhere(projects.default)
    projects.share_everything()
    assert projects.birds.post("/v1/experiments", json=DOCUMENT).status_code == 201
    assert projects.hosts_of_downloads() == {("a.example.org",)}


def test_another_list_is_another_experiment_only_where_links_are_followed(projects: Projects) -> None:
    def identity() -> str:
        return str(projects.default.post("/v1/experiments/validate", json=DOCUMENT).json()["identity"])

    register_everything(projects.default)
    before = identity()
    projects.narrow("default", ProjectSources(hosts=("a.example.org",)))
    assert identity() == before


def link_plan(hosts: tuple[str, ...] | None) -> set[str]:
    lookup = DictLookup()
    table = LinkTable.model_validate(links())
    lookup.upstreams["world"] = lookup.upstreams["world"].model_copy(update={"shards": (table,)})
    resolved = resolve(spec(targets=("fine",)), lookup).model_copy(update={"hosts_of_links": hosts})
    plan = plan_experiment(resolved)
    downloads = [step for step in plan.steps if isinstance(step.request, DownloadImages)]
    assert len(downloads) == 3
    assert all(("hosts" in step.stored) == (hosts is not None) for step in downloads)
    return {step.id for step in downloads}


def test_without_a_list_downloads_are_the_steps_they_were() -> None:
    assert sha256("".join(sorted(link_plan(None))).encode()) == WITHOUT_LISTS
    assert not link_plan(None) & link_plan(("*.example.org",))
    assert not link_plan(("*.example.org",)) & link_plan(())


@pytest.mark.parametrize(
    "location", ["https://[a/b.parquet", "https://[::::]/b.tar", "http://]/b.tar", "https:///b.tar"]
)
def test_an_address_without_a_host_is_refused_whatever_is_allowed(location: str) -> None:
    for hosts in (("*",), ("*.example.org",), ()):
        with pytest.raises(SourceNotAllowed, match="is no address of a web server"):
            ProjectSources(hosts=hosts).require(location)


def test_a_list_with_every_host_is_that_of_the_installation() -> None:
    assert ProjectSources(hosts=("a.org", "*")).hosts_of_links is None
    assert ProjectSources(hosts=("b.org", "a.org", "b.org")).hosts_of_links == ("a.org", "b.org")
    assert ProjectSources().hosts_of_links == ()


def typed(services: Services, *words: str) -> str:
    with services.store.write() as session:
        return carry_out(session, parse_arguments(list(words)), NOW)


def test_a_list_is_set_at_the_terminal_and_stays_until_it_is_removed(services: Services) -> None:
    wanted = {"sources": {"buckets": ["shop/photos"], "hub": ["openai/*"]}}
    whole = {"library": ["*"], "buckets": ["shop/photos"], "hub": ["openai/*"], "hosts": []}
    said = typed(services, "create", "birds", "--limits", json.dumps(wanted))
    assert json.loads(said.removeprefix("birds ")) == {"sources": whole}
    key = typed(services, "key", "birds", "--label", "ana")
    answer = api_client(services).get("/v1/project", headers={"Authorization": f"Bearer {key}"})
    assert answer.json()["limits"]["sources"] == whole
    said = typed(services, "limit", "birds", '{"active_experiments": 2}')
    assert json.loads(said.removeprefix("birds ")) == {"active_experiments": 2, "sources": whole}
    assert typed(services, "limit", "birds", '{"sources": null}') == "birds {}"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ('{"sources": ', "limits: Invalid JSON: EOF while parsing"),
        ("[]", "limits: Input should be an object"),
        ('{"sources": {"bucket": ["shop"]}}', "sources.bucket: Extra inputs are not permitted"),
        ('{"sources": {"buckets": ["s3://shop"]}}', "sources.buckets.0: String should match pattern"),
        ('{"sources": {"buckets": ["s3://shop"]}}', "write bucket or bucket/prefix, without s3://"),
        ('{"sources": {"hosts": ["https://a.org"]}}', "write example.org, *.example.org or *"),
        ('{"sources": {"hub": "openai/*"}}', "sources.hub: Input should be a valid array"),
    ],
)
def test_limits_that_cannot_be_read_are_named(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limits: str,
    said: str,
) -> None:
    with pytest.raises(Invalid) as refused:
        typed(services, "create", "birds", "--limits", limits)
    assert said in refused.value.detail
    monkeypatch.setenv("TOUCHSTONE_DATABASE_URL", services.settings.database_url.get_secret_value())
    monkeypatch.setattr("sys.argv", ["projects", "limit", "default", limits])
    assert main() == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert typed(services, "list") == "default {}"


def shown(sources: ProjectSources | None) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_project(
        console, ProjectView(name="birds", scope="read", created_at=NOW, limits=Limits(sources=sources), use=Use())
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_command_line_shows_the_list() -> None:
    assert set(SOURCES) == set(ProjectSources.model_fields)
    assert "sources: all that the installation allows" in shown(None)
    text = shown(BIRDS.model_copy(update={"hosts": ()}))
    for line in ("library folders: data/birds, models", "buckets: shop/photos", "hosts of links: none"):
        assert f"  {line}\n" in text
