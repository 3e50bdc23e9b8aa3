"""What came in of a source is shown where people look: in the API, on the page and at the terminal."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from support.finished_experiments import Told, finish_experiment, post_experiment, write_result
from touchstone.account_tables import print_account
from touchstone_api.bootstrap import Services
from touchstone_contracts.account import Account, Named
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import ImagesEmbedded, ImagesFound, ImagesIngested, PromptsWritten
from touchstone_contracts.values import Blob
from touchstone_contracts.views import ExperimentAccount, GenerationNotes, SourceAccount

NASTY = "<script>alert(1)</script>.jpg"
BLOB = Blob(digest="0" * 64, size=1)
IMAGES = ImageSet(manifest=BLOB, shards=(BLOB,), count=1)
LOST = Account(
    seen=4,
    taken=1,
    refused={
        "undecodable_image": Named(count=2, names=("a[red].jpg", NASTY)),
        "too_large": Named(count=1, names=("c.jpg",)),
    },
    notes={"unreadable_caption": Named(count=1, names=("d.jpg",))},
)
WORDS = "3 of 4 images refused: undecodable image 2 (a[red].jpg, {}), too large 1 (c.jpg)"


@pytest.fixture
def told(services: Services) -> Told:
    """A finished experiment of whose sources every shard and one test set had losses, and whose prompts were cut."""
    told = post_experiment(services)
    finish_experiment(services, told)
    assert told.plan.upstream is not None
    lossy = [shard.images for shard in told.plan.upstream.shards] + [told.plan.tests["fine", "test"]]
    for step in lossy:
        write_result(services.artifacts, step, "ingest_images", ImagesIngested(images=IMAGES, account=LOST))
    for planned in told.plan.steps:
        if planned.kind == "generate_images":
            made = ImagesFound(images=IMAGES, requested=1, notes={"prompt_truncated": 2, "untuned": 0})
            write_result(services.artifacts, planned.id, planned.kind, made)
        if planned.kind == "write_prompts":
            written = PromptsWritten(prompts=BLOB, count=1, notes={"template_instead": 3})
            write_result(services.artifacts, planned.id, planned.kind, written)
    return told


def sources(answer: dict[str, Any]) -> dict[tuple[str, str | None], Any]:
    return {(source["name"], source["split"]): source for source in answer["sources"]}


def test_an_experiment_tells_what_came_in_of_each_source(api: TestClient, told: Told) -> None:
    answer = api.get(f"/v1/experiments/{told.id}/account").json()
    found = sources(answer)
    shards = len(told.plan.upstream.shards) if told.plan.upstream else 0
    assert shards == 2
    upstream = found[told.spec.upstream, None]
    assert (upstream["kind"], upstream["files"], upstream["ingested"]) == ("upstream", 2, 2)
    assert (upstream["account"]["seen"], upstream["account"]["taken"]) == (8, 2)
    assert upstream["account"]["refused"]["too_large"] == {"count": 2, "names": ["c.jpg", "c.jpg"]}
    assert found["fine", "test"]["account"] == LOST.model_dump(mode="json")
    assert {name for name, split in found if split == "validation"} == set(told.spec.targets)
    assert api.get("/v1/experiments/exp_nothing/account").status_code == 404


def test_notes_of_generation_are_summed_by_arm(api: TestClient, told: Told) -> None:
    generated = api.get(f"/v1/experiments/{told.id}/account").json()["generated"]
    made = [step for step in told.plan.steps if step.kind == "generate_images"]
    assert len(made) >= 2
    assert {entry["arm"] for entry in generated} == {"synthetic"}
    assert sum(entry["notes"]["prompt_truncated"] for entry in generated) == 2 * len(made)
    assert all(entry["notes"]["template_instead"] == 3 for entry in generated)
    assert all("untuned" not in entry["notes"] for entry in generated)


def test_the_manifest_and_the_entries_tell_the_same(api: TestClient, told: Told) -> None:
    found = sources(api.get(f"/v1/experiments/{told.id}/account").json())
    manifest = api.get(f"/v1/experiments/{told.id}/manifest").json()
    assert manifest["accounts"] == list(found.values())
    upstream = api.get(f"/v1/upstreams/{told.spec.upstream}").json()
    assert upstream["account"] == found[told.spec.upstream, None]
    [listed] = [each for each in api.get("/v1/upstreams").json()["items"] if each["name"] == told.spec.upstream]
    assert listed["account"] is None
    splits = api.get("/v1/targets/fine/account").json()["splits"]
    assert splits == [source for source in found.values() if source["name"] == "fine"]
    assert len(splits) >= 2
    assert api.get("/v1/targets/nothing/account").status_code == 404
    assert api.get("/v1/datasets/nothing/account").status_code == 404


def test_the_page_shows_losses_in_red_and_escapes_their_names(api: TestClient, told: Told) -> None:
    html = api.get(f"/experiments/{told.id}").text
    assert NASTY not in html
    escaped = NASTY.replace("<", "&lt;").replace(">", "&gt;")
    assert f'<p class="problem" role="note">fine/test: {WORDS.format(escaped)}</p>' in html
    assert html.count('<td class="number bad">') == 2
    assert "prompt truncated" in html
    assert "template instead 3" in html


def test_a_page_without_losses_has_nothing_red(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    html = api.get(f"/experiments/{told.id}").text
    assert "What came in" in html
    assert 'class="problem" role="note"' not in html
    assert '<td class="number bad">' not in html


def test_the_terminal_prints_losses_in_red_and_takes_no_name_for_markup() -> None:
    console = Console(force_terminal=True, color_system="standard", width=200, record=True)
    account = ExperimentAccount(
        experiment="exp_1",
        sources=(
            SourceAccount(kind="upstream", name="world", files=3, ingested=2, account=LOST),
            SourceAccount(
                kind="split", name="fine", split="test", files=1, ingested=1, account=Account(seen=2, taken=2)
            ),
        ),
        generated=(GenerationNotes(target="fine", arm="synthetic", notes={"prompt_truncated": 1200}),),
    )
    with console.capture() as capture:
        print_account(console, account)
    lines = capture.get().splitlines()
    assert lines[0] == "upstream world: 1 of 4 images taken, 2 of 3 files ingested"
    assert lines[1] == f"\x1b[31m  {WORDS.format(NASTY)}\x1b[0m"
    assert lines[2] == "  unreadable caption 1 (d.jpg)"
    assert lines[3:] == ["fine/test: 2 of 2 images taken", "fine/synthetic: prompt truncated 1,200"]


def test_embeddings_that_cannot_be_used_are_told_where_losses_are(
    api: TestClient, services: Services, told: Told
) -> None:
    assert told.plan.upstream is not None
    name = "unusable_image_embedding"
    lossy = ImagesEmbedded(
        count=1, dimension=8, image_embeddings=BLOB, unusable={name: Named(count=1, names=("nan-row.jpg",))}
    )
    for shard in told.plan.upstream.shards:
        write_result(services.artifacts, shard.embeddings, "embed_images", lossy)
    found = sources(api.get(f"/v1/experiments/{told.id}/account").json())
    notes = found[told.spec.upstream, None]["account"]["notes"]
    assert notes[name] == {"count": 2, "names": ["nan-row.jpg", "nan-row.jpg"]}
    assert name not in found["fine", "test"]["account"]["notes"]
    assert api.get(f"/v1/upstreams/{told.spec.upstream}").json()["account"]["account"]["notes"][name]["count"] == 2
    html = api.get(f"/experiments/{told.id}").text
    assert "unusable image embedding 2 (nan-row.jpg, nan-row.jpg)" in html
