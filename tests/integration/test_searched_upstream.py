"""An upstream that is searched by words and by images, through the worker's own functions and the mini CLIP."""

import asyncio
import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import touchstone
from PIL import Image
from support.memory_services import OPERATOR_KEY
from support.searchable import NAME, Searchable, at_work, searchable
from support.served_api import serving_api
from touchstone.cli import app
from touchstone.credentials import KEY_VARIABLE
from touchstone_contracts.identity import sha256
from touchstone_runtime.image_sets import BLANK_ID
from typer.testing import CliRunner

pytestmark = pytest.mark.usefixtures("one_thread")

SEARCH = f"/v1/upstreams/{NAME}/search"
ROWS_LOOKED_AT = 40
AMONG = 10
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searchable]:
    with searchable(tmp_path_factory.mktemp("searchable")) as world:
        yield world


@pytest.fixture(scope="module")
def server(world: Searchable) -> Iterator[str]:
    """With workers that go on, and an api that waits for them."""
    patient = world.services.settings.model_copy(update={"search_patience_seconds": 20.0})
    with at_work(world), serving_api(replace(world.services, settings=patient)) as address:
        with touchstone.Client(address, key=OPERATOR_KEY) as client:
            client.upstream(NAME)  # the terminal gives a server that begins to serve 2.5 seconds alone
        yield address


def found(world: Searchable, **body: Any) -> Any:
    """What a worker answers, asked for in two requests."""
    asked = world.api.post(SEARCH, json=body)
    assert asked.status_code in (200, 202), asked.text
    world.work()
    answered = world.api.post(SEARCH, json=body)
    assert (answered.status_code, answered.json()["id"]) == (200, asked.json()["id"]), answered.text
    return answered.json()


def test_a_caption_finds_its_image_among_the_first(world: Searchable) -> None:
    hits = 0
    for row in range(ROWS_LOOKED_AT):
        results = found(world, text=world.captions[row], limit=AMONG)["results"]
        assert len(results) == AMONG
        scores = [each["score"] for each in results]
        assert scores == sorted(scores, reverse=True)
        hits += sha256(world.images[row]) in [each["id"] for each in results]
    by_chance = ROWS_LOOKED_AT * AMONG / len(world.images)
    assert hits >= ROWS_LOOKED_AT * 0.6 > 5 * by_chance
    print(
        f"{hits} of {ROWS_LOOKED_AT} images found among the first {AMONG} by their caption, {by_chance:.1f} by chance"
    )


def test_a_caption_finds_itself_first_among_captions(world: Searchable) -> None:
    for row in range(1, 6):
        first = found(world, text=world.captions[row], search_in="captions", limit=3)["results"][0]
        assert (first["caption"], first["score"]) == (world.captions[row], pytest.approx(1, abs=1e-3))


def test_an_image_finds_itself_first_and_once(world: Searchable) -> None:
    """Sent as bytes or named by its id: of the first image, which the upstream holds twice, too."""
    for row in (0, 7, 120):
        image = sha256(world.images[row])
        sent = found(world, image=base64.b64encode(world.images[row]).decode(), limit=5)
        named = found(world, like=image, limit=5)
        assert sent["searched"] == len(world.images)
        assert [each["id"] for each in sent["results"]] == [each["id"] for each in named["results"]]
        assert sent["results"][0]["id"] == image
        assert sent["results"][0]["score"] == pytest.approx(1, abs=1e-3)
        assert len({each["id"] for each in sent["results"]}) == 5
        assert sent["image"] == image
        shown = world.api.get(sent["results"][0]["url"])
        assert shown.content == world.images[row]


def test_words_of_captions_are_found_in_the_order_of_the_upstream(world: Searchable) -> None:
    word = max(world.captions[1].split(), key=len).lower()
    results = found(world, text=word, search_in="words", limit=100)["results"]
    holding = [caption for caption in world.captions if word in caption.lower()]
    assert 1 <= len(results) <= len(holding)
    assert [each["caption"] for each in results] == [
        each for each in holding if each in {r["caption"] for r in results}
    ]
    assert {each["score"] for each in results} == {None}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image": base64.b64encode(b"no image").decode()}, "undecodable_image"),
        ({"like": "0" * 64}, "unknown_image"),
        ({"like": BLANK_ID}, "unknown_image"),
    ],
)
def test_what_cannot_be_searched_for_fails_with_its_reason(world: Searchable, body: dict[str, str], code: str) -> None:
    asked = world.api.post(SEARCH, json=body).json()
    world.work()
    told = world.api.get(f"/v1/upstreams/{NAME}/searches/{asked['id']}").json()
    assert (told["phase"], [problem["code"] for problem in told["problems"]]) == ("failed", [code])


def test_the_client_waits_for_the_answer_and_shows_it(world: Searchable, server: str) -> None:
    with touchstone.Client(server, key=OPERATOR_KEY) as client:
        by_words = client.search(NAME, world.captions[2], limit=4)
        by_picture = client.search(NAME, image=Image.open(io.BytesIO(world.images[2])), limit=4)
        assert client.found_image(by_picture.results[0]) == world.images[2]
        with pytest.raises(touchstone.InvalidRequest, match="send a JPEG"):
            client.search(NAME, image=b"no image")
        with pytest.raises(touchstone.NotFound, match=f"did you mean '{NAME}'"):
            client.search("picture", "owl")
    assert len(by_words.results) == len(by_picture.results) == 4
    assert by_picture.results[0].caption == world.captions[2]
    assert list(by_words.to_pandas()["score"]) == [each.score for each in by_words.results]
    html = by_words._repr_html_()
    assert (html.count("<tr>"), f"{by_words.results[0].score:.3f}" in html) == (5, True)
    assert f"{by_words.results[0].score:.3f}" in repr(by_words)


async def search_awaited(server: str, text: str) -> touchstone.SearchResults:
    async with touchstone.AsyncClient(server, key=OPERATOR_KEY) as client:
        return await client.search(NAME, text, limit=4)


def test_the_awaited_client_finds_the_same(world: Searchable, server: str) -> None:
    with touchstone.Client(server, key=OPERATOR_KEY) as client:
        assert asyncio.run(search_awaited(server, "an owl")) == client.search(NAME, "an owl", limit=4)


def test_the_terminal_searches_by_words_and_by_a_file(world: Searchable, server: str, tmp_path: Path) -> None:
    environment = {KEY_VARIABLE: OPERATOR_KEY, "TOUCHSTONE_SERVER": server, "COLUMNS": "80"}

    def types(*words: str, **further: str) -> Any:
        return CliRunner().invoke(app, ["search", *words], env=environment | further)

    (tmp_path / "query.png").write_bytes(world.images[3])
    by_words, by_file = types(NAME, world.captions[3]), types(NAME, "--image", str(tmp_path / "query.png"))
    assert (by_words.exit_code, by_file.exit_code) == (0, 0), by_words.output + by_file.output
    narrow = ANSI.sub("", types(NAME, world.captions[3], FORCE_COLOR="1").output).splitlines()
    rows = [line for line in narrow if line[:1] in set("┃│┏└├┡")]  # workers log to the same output here
    assert len(rows) >= 12
    assert [line for line in rows if len(line) > 80] == []
    assert world.captions[3][:12] in by_file.output
    as_json = types(NAME, "owl", "--json", "--limit", "2")
    assert '"results"' in as_json.output
    for wrong in ((NAME,), (NAME, "owl", "--like", "x"), (NAME, "--like", "x", "--in", "words"), ("nowhere", "owl")):
        refused = types(*wrong)
        assert refused.exit_code == 2, wrong
        assert "Traceback" not in refused.output
    assert types(NAME, "--image", str(tmp_path / "none.png")).exit_code == 2
