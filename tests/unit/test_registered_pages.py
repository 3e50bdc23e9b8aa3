"""What is registered has pages: sizes, lineage, classes, what came in; and nobody sees what is not theirs."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, post_experiment, write_result
from support.memory_services import api_client, fail_step, memory_services
from support.pages import ESCAPED, NASTY, of_another_project, page, section, texts
from support.specs import DictLookup, source, target
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.registered import KINDS, facts_of
from touchstone_api.routes.registered import MOST_CLASSES, MOST_FILES
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.account import Account, Named
from touchstone_contracts.catalogue import Dataset, SourceFiles, Upstream
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import ImagesIngested
from touchstone_contracts.values import Blob
from touchstone_store.catalogue import register, share_entry
from touchstone_store.layouts import upstream_plan_id
from touchstone_store.steps import owned_steps

BLOB = Blob(digest="0" * 64, size=1)
IMAGES = ImageSet(manifest=BLOB, shards=(BLOB,), count=1)
LOST = Account(seen=4, taken=1, refused={"too_large": Named(count=3, names=(NASTY, "b.jpg", "c.jpg"))})
ADDRESSES = (
    "/upstreams/world",
    "/targets/fine",
    "/encoders/clip",
    "/generators/diffusion",
    "/datasets/fine-by-hand",
)


@dataclass(frozen=True)
class Shown:
    services: Services
    api: TestClient
    told: Told


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A finished experiment, of whose sources the shards of the upstream and a test set had losses."""
    services = memory_services(tmp_path_factory.mktemp("registered"))
    lookup = DictLookup()
    lookup.targets["fine"] = lookup.targets["fine"].model_copy(update={"description": NASTY})
    told = post_experiment(services, lookup=lookup)
    finish_experiment(services, told)
    assert told.plan.upstream is not None
    for step in [shard.images for shard in told.plan.upstream.shards] + [told.plan.tests["fine", "test"]]:
        write_result(services.artifacts, step, "ingest_images", ImagesIngested(images=IMAGES, account=LOST))
    return Shown(services, api_client(services, raise_server_exceptions=False), told)


def test_every_entry_has_a_page_and_every_page_is_linked(shown: Shown) -> None:
    linked = set(re.findall(r'href="(/[^"]+)"', page(shown.api, "/registered")))
    for kind in KINDS.values():
        assert f"/{kind.plural}" in linked
        linked |= set(re.findall(r'href="(/[^"]+)"', page(shown.api, f"/{kind.plural}")))
    entries = {address for address in linked if re.fullmatch(r"/(\w+)/[\w-]+", address)}
    assert set(ADDRESSES) <= entries
    of_kinds = [address for address in entries if address.split("/")[1] in {kind.plural for kind in KINDS.values()}]
    assert len(of_kinds) == 2 + 1 + 1 + 2 + 2  # targets, upstream, encoder, generators, data sets
    for address in of_kinds:
        assert f"<h1>{address.split('/')[2]}</h1>" in page(shown.api, address)


def test_the_navigation_leads_there(shown: Shown) -> None:
    navigation = page(shown.api, "/").split("<nav")[1].split("</nav>")[0]
    assert '<a href="/registered">Registered</a>' in navigation


def test_an_upstream_shows_its_size_and_what_was_trained_on_it(shown: Shown) -> None:
    facts = section(page(shown.api, "/upstreams/world"), "facts-title")
    assert texts(facts, "dd")[:3] == ["100", "2", "clip"]
    assert '<a href="/encoders/clip">clip</a>, <a href="/generators/diffusion">diffusion</a>' in facts
    assert "stranger" not in facts


def test_the_account_is_that_of_the_api(shown: Shown) -> None:
    for address, index in (("/upstreams/world", 0), ("/targets/fine", 1)):
        html = section(page(shown.api, address), "account-title")
        asked = shown.api.get(f"/v1{address}{'/account' if index else ''}").json()
        sources = asked["splits"] if index else [asked["account"]]
        assert len(sources) == 1 + index
        rows = texts(html, "tr")[1:]
        for account, row in zip(sources, rows, strict=True):
            came = account["account"]
            assert f"{account['ingested']} of {account['files']} {came['seen']} {came['taken']}" in row
        assert '<td class="number bad">' in html


def test_names_and_descriptions_are_escaped(shown: Shown) -> None:
    for address in ("/targets", "/targets/fine", "/upstreams/world", "/registered"):
        html = page(shown.api, address)
        assert NASTY not in html
        assert ESCAPED in html


def test_a_target_lists_its_classes_and_files(shown: Shown) -> None:
    html = page(shown.api, "/targets/fine")
    rows = texts(section(html, "classes-title"), "tr")
    assert rows[1:] == [f"{number} thing {number} thing {number} thing {number}" for number in range(3)]
    assert [row.split()[0] for row in texts(section(html, "files-title"), "tr")[1:]] == ["test", "validation"]


def test_long_lists_are_cut_and_say_so(shown: Shown) -> None:
    many = target("many", classes=MOST_CLASSES + 1)
    with shown.services.store.write() as session:
        register(session, many, DEFAULT_PROJECT, datetime.now(UTC))
        shards = tuple(source(f"many{number}") for number in range(MOST_FILES + 1))
        wide = Upstream(name="wide", shards=shards, index_encoder="clip")
        register(session, wide, DEFAULT_PROJECT, datetime.now(UTC))
    classes = section(page(shown.api, "/targets/many"), "classes-title")
    assert classes.count("<tr>") == 1 + MOST_CLASSES
    assert "The first" in classes
    files = section(page(shown.api, "/upstreams/wide"), "files-title")
    assert files.count("<tr>") == 1 + MOST_FILES
    assert f"The first {MOST_FILES} of {MOST_FILES + 1} files" in files


def test_long_lists_of_entries_go_on(shown: Shown) -> None:
    with shown.services.store.write() as session:
        for number in range(60):
            entry = Dataset(name=f"set-{number:02}", target="fine", images=source(f"set-{number}"), licence="CC0-1.0")
            register(session, entry, DEFAULT_PROJECT, datetime.now(UTC))
    first = page(shown.api, "/datasets")
    [following] = re.findall(r'href="(/datasets\?cursor=[^"]+)"', first)
    second = page(shown.api, following)
    names = re.findall(r'href="/datasets/([^"]+)"', first + second)
    assert len(names) == len(set(names)) == 62
    assert "CC0-1.0" in second
    assert page(shown.api, "/registered").count('href="/datasets/') == 10


def test_the_lineage_of_models_and_data_sets_is_a_link_where_it_is_registered(shown: Shown) -> None:
    assert '<a href="/upstreams/world">world</a>' in page(shown.api, "/generators/diffusion")
    stranger = page(shown.api, "/generators/stranger")
    assert "<dd>elsewhere</dd>" in stranger
    assert "/upstreams/elsewhere" not in stranger
    made = Dataset(
        name="made", target="fine", images=source("made"), origin="synthetic", made_by=NASTY, trained_on="world"
    )
    with shown.services.store.write() as session:
        register(session, made, DEFAULT_PROJECT, datetime.now(UTC))
    html = page(shown.api, "/datasets/made")
    assert '<a href="/targets/fine">fine</a>' in html
    assert '<dd><a href="/upstreams/world">world</a></dd>' in html
    assert ESCAPED in html


def test_another_project_finds_none_of_it(shown: Shown) -> None:
    other = of_another_project(shown.services)
    for address in ADDRESSES:
        _, plural, name = address.split("/")
        assert other.get(address).status_code == 404
        answer = other.get(address, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html")
        assert f"/{plural}/{name}" not in page(other, f"/{plural}")
    assert page(other, "/registered").count("None is registered.") == len(ADDRESSES) == 5


def test_an_unknown_entry_is_not_found(shown: Shown) -> None:
    plurals = [kind.plural for kind in KINDS.values()]
    assert len(plurals) == 5
    assert {shown.api.get(f"/{plural}/nothing").status_code for plural in plurals} == {404}
    # A name that is also the word for a kind is looked up as a name alone.
    assert {shown.api.get(f"/{plural}/upstreams").status_code for plural in plurals} == {404}


def test_an_entry_may_be_named_like_a_kind(shown: Shown) -> None:
    with shown.services.store.write() as session:
        register(session, target("upstreams"), DEFAULT_PROJECT, datetime.now(UTC))
    assert "<h1>upstreams</h1>" in page(shown.api, "/targets/upstreams")


def test_a_failed_ingest_shows_its_problem(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    with services.store.read() as session:
        step = owned_steps(session, upstream_plan_id(told.spec.upstream))[0].step.id
    fail_step(services, step)
    html = section(page(api, "/upstreams/world"), "ingest-title")
    assert '<span class="phase failed">failed</span>' in html
    assert "no space left on device" in html


def test_a_shared_entry_is_seen_and_what_it_names_is_no_dead_link(api: TestClient, services: Services) -> None:
    post_experiment(services)
    other = of_another_project(services)
    with services.store.write() as session:
        share_entry(session, Upstream, "world", DEFAULT_PROJECT, True)
    html = page(other, "/upstreams/world")
    assert "<dd>clip</dd>" in html
    assert "/encoders/clip" not in html
    assert "no registered model" in html


def test_locations_that_are_being_looked_at_are_on_the_overview(api: TestClient, services: Services) -> None:
    post_experiment(services)
    assert "being looked at" not in page(api, "/registered")
    body = {"name": "birds", "location": "library:data/birds", "index_encoder": "clip"}
    assert api.post("/v1/upstreams", json=body).status_code == 202
    rows = texts(section(page(api, "/registered"), "descriptions-title"), "tr")
    assert len(rows) == 2
    [described] = api.get("/v1/descriptions").json()["items"]
    assert rows[1].startswith(f"birds upstream {described['phase']} {described['done']}")
    assert "birds" not in page(of_another_project(services), "/registered")


def test_an_empty_catalogue_says_so(api: TestClient) -> None:
    assert page(api, "/registered").count("None is registered.") == 5
    assert "None is registered." in page(api, "/targets")


def test_each_kind_tells_one_fact_for_each_column() -> None:
    lookup = DictLookup()
    kinds = (lookup.upstreams, lookup.targets, lookup.encoders, lookup.generators, lookup.datasets)
    entries = [entry for kind in kinds for entry in kind.values()]
    assert len(entries) == 8
    for entry in entries:
        assert len(facts_of(entry)) == len(KINDS[type(entry)].columns)


def test_each_file_of_a_split_is_listed_and_long_splits_leave_room_for_the_others(shown: Shown) -> None:
    def several(name: str, files: int) -> SourceFiles:
        return SourceFiles(files=tuple(source(f"{name}-{number}") for number in range(files)))

    plain = target("sharded")
    splits = plain.splits.model_copy(update={"test": several("test", MOST_FILES), "train": several("train", 2)})
    bought = Dataset(name="sharded-too", target="sharded", images=several("bought", 3))
    with shown.services.store.write() as session:
        register(session, plain.model_copy(update={"splits": splits}), DEFAULT_PROJECT, datetime.now(UTC))
        register(session, bought, DEFAULT_PROJECT, datetime.now(UTC))
    listed = section(page(shown.api, "/targets/sharded"), "files-title")
    named = [row.rpartition(" parquet ")[0] for row in texts(listed, "tr")[1:]]
    share = MOST_FILES // 3
    assert named == [*(f"test, file {n}" for n in range(share)), "validation", "train, file 0", "train, file 1"]
    assert f"The first {share + 3} of {MOST_FILES + 3} files" in listed
    rows = texts(section(page(shown.api, "/datasets/sharded-too"), "files-title"), "tr")[1:]
    assert rows == [f"images, file {n} parquet 10 library:bought-{n}.parquet" for n in range(3)]
    account = shown.api.get("/v1/datasets/sharded-too/account").json()
    assert (account["files"], account["ingested"]) == (3, 0)
