"""What a newcomer types: the commands of docs/first-run.md on own images, from `make up` to the verdict, the README's
request, and the commands that keep a system in order, down to `make down`."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.archives import zip_of
from support.deployment import ROOT, lookalike
from support.own_data import (
    CLASSES,
    files_below,
    held_out_images,
    own_images,
    photos,
    validation,
    write_captioned_table,
    write_class_folders,
    write_hugging_face_parquet,
    write_photos,
    write_target,
    write_webdataset,
)
from support.served_files import serving_files
from support.waiting import until
from touchstone_stack.servers import free_ports

pytestmark = pytest.mark.timeout(1800)
"""Seconds, of a system that starts on a machine which other tests use as well."""

PAGE = (ROOT / "docs/first-run.md").read_text()
MOST_COMMANDS = 5
README_SERVER = "http://127.0.0.1:8000"
ENDED = {"succeeded", "failed", "cancelled"}
UNKNOWN_LINEAGE = "it is not known whether these are real or synthetic"


def blocks(language: str) -> list[str]:
    """The fenced blocks of the page in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like this repository, keeps its own `.touchstone` and has the data of the page."""
    folder = lookalike(tmp_path_factory.mktemp("checkout"))
    write_photos(folder / "my photos")
    write_target(folder / "my classes")
    write_class_folders(folder / "my own images", own_images())
    [study] = blocks("yaml")
    (folder / "my-study.yaml").write_text(study)
    return folder


@pytest.fixture(scope="module")
def variables() -> Mapping[str, str]:
    """Of the commands: another port than the default, and files of a web server on this machine are allowed."""
    port = str(free_ports(1)[0])
    return {
        "TOUCHSTONE_PORT": port,
        "TOUCHSTONE_SERVER": f"http://127.0.0.1:{port}",
        "TOUCHSTONE_ALLOWED_HOSTS": "127.0.0.1",
        "TOUCHSTONE_DOWNLOAD_PRIVATE_ADDRESSES": "true",
    }


def type_in(checkout: Path, variables: Mapping[str, str], command: str) -> str:
    """What a command of the page prints. The environment that runs the tests is not set up once more."""
    run = re.sub(r"^make ", "make --old-file=.venv/ready ", command)
    answer = subprocess.run(
        ("sh", "-c", run), cwd=checkout, env={**os.environ, **variables}, capture_output=True, text=True, timeout=900
    )
    assert answer.returncode == 0, f"{command}\n{answer.stdout}{answer.stderr}"
    return answer.stdout


@pytest.fixture(scope="module")
def transcript(checkout: Path, variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """What each command up to the verdict printed, by command; the system runs meanwhile."""
    commands, last = (block.splitlines() for block in blocks("sh"))
    try:
        yield {command: type_in(checkout, variables, command) for command in commands}
    finally:
        for command in last:
            type_in(checkout, variables, command)


@pytest.fixture(scope="module")
def api(transcript: dict[str, str], checkout: Path, variables: Mapping[str, str]) -> Iterator[httpx.Client]:
    """REST alone, without the SDK."""
    headers = {"Authorization": f"Bearer {(checkout / '.touchstone/key').read_text()}"}
    with httpx.Client(base_url=variables["TOUCHSTONE_SERVER"], headers=headers, timeout=60) as api:
        yield api


def answered(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def add(api: httpx.Client, kind: str, document: Mapping[str, Any]) -> None:
    """Asks for an upstream, target or data set by its location, and waits until it is registered."""
    answered(api.post(f"/v1/{kind}s", json=document), 202)

    def ended() -> Any:
        view = answered(api.get(f"/v1/descriptions/{kind}/{document['name']}"), 200)
        return view if view["phase"] in ENDED else None

    view = until(ended, within=300)
    assert view["phase"] == "succeeded", view["problems"]
    assert view["notes"] == []


def uploaded(api: httpx.Client, folder: Path) -> str:
    headers = {"Content-Type": "application/zip"}
    return (
        f"upload://{answered(api.post('/v1/uploads', content=zip_of(files_below(folder)), headers=headers), 201)['id']}"
    )


def judged(api: httpx.Client, study: Mapping[str, Any]) -> Any:
    """The verdict of a study that is posted and waited for."""
    experiment = answered(api.post("/v1/experiments", json=study), 201)["id"]

    def ended() -> Any:
        view = answered(api.get(f"/v1/experiments/{experiment}"), 200)
        return view if view["phase"] in ENDED else None

    view = until(ended, within=600)
    assert view["phase"] == "succeeded", view["problems"]
    return answered(api.get(f"/v1/experiments/{experiment}/verdict"), 200)


def small_study(name: str) -> dict[str, Any]:
    """The study of the page on data of these names, as small as a verdict allows."""
    [study] = blocks("yaml")
    document = yaml.safe_load(study)
    none, retrieved, own = document["arms"]
    return document | {
        "name": name,
        "upstream": f"{name}-photos",
        "targets": [f"{name}-classes"],
        "arms": [none, retrieved, own | {"datasets": [f"{name}-own"]}],
        "sizes": [25],
        "recipe": document["recipe"] | {"epochs": 1},
    }


def test_five_commands_lead_to_a_verdict(transcript: dict[str, str]) -> None:
    assert len(transcript) == MOST_COMMANDS
    up, upstream, target, dataset, run = transcript.values()
    assert "Dashboard http://127.0.0.1" in up
    assert f"upstream my-photos: {len(photos())} images in 1 shard;" in upstream
    assert f"target my-classes: {len(CLASSES)} classes; images: test 100, validation 75" in target
    assert "dataset my-own-images: registered for target my-classes" in dataset
    assert "upstream my-photos: 250 of 250 images taken" in run
    assert re.search(r"^Verdict: .*retrieved", run, flags=re.MULTILINE)


def test_up_starts_a_system_that_is_ready_and_knows_the_miniverse(api: httpx.Client) -> None:
    answered(api.get("/readyz"), 200)
    assert "miniverse" in {entry["name"] for entry in answered(api.get("/v1/upstreams"), 200)["items"]}


def test_the_verdict_compares_given_images_and_says_what_is_not_known_of_them(
    transcript: dict[str, str], api: httpx.Client
) -> None:
    [experiment] = answered(api.get("/v1/experiments", params={"q": "my first run"}), 200)["items"]
    verdict = answered(api.get(f"/v1/experiments/{experiment['id']}/verdict"), 200)
    assert (verdict["a"], verdict["b"]) == ("retrieved", "own")
    assert verdict["primary"]["low"] <= verdict["primary"]["difference"] <= verdict["primary"]["high"]
    assert sum(UNKNOWN_LINEAGE in warning for warning in verdict["warnings"]) == 1
    assert verdict["headline"] in transcript[list(transcript)[-1]]
    results = answered(api.get(f"/v1/experiments/{experiment['id']}/results"), 200)
    assert len(results["rows"]) == 2 * (1 + 2 * 2)  # seeds; the encoder as it is, two arms of two sizes


def test_the_page_explains_every_line_that_it_shows_of_the_answer() -> None:
    [shown] = [block for block in blocks("text") if "Verdict:" in block]
    assert UNKNOWN_LINEAGE in shown
    for explained in ("Undecided", "95 % interval", "Against the untouched encoder", "What would decide it"):
        assert PAGE.count(explained) >= 2, explained


def test_the_same_through_rest_alone(api: httpx.Client, tmp_path: Path) -> None:
    write_captioned_table(tmp_path / "photos of mine")
    write_target(tmp_path / "classes of mine")
    write_class_folders(tmp_path / "bought pictures", own_images())
    add(api, "upstream", {
        "name": "rest-photos", "index_encoder": "mini-clip", "location": uploaded(api, tmp_path / "photos of mine"),
    })  # fmt: skip
    add(api, "target", {"name": "rest-classes", "location": uploaded(api, tmp_path / "classes of mine")})
    add(api, "dataset", {
        "name": "rest-own", "target": "rest-classes", "origin": "synthetic", "made_by": "PixelForge 2",
        "location": uploaded(api, tmp_path / "bought pictures"),
    })  # fmt: skip
    verdict = judged(api, small_study("rest"))
    assert (verdict["a"], verdict["b"]) == ("retrieved", "own")
    [caveat] = [warning for warning in verdict["warnings"] if "PixelForge 2" in warning]
    assert "Whether their generator was trained on rest-photos is not known" in caveat


def test_published_files_of_a_web_server_are_run_to_a_verdict(api: httpx.Client, tmp_path: Path) -> None:
    write_webdataset(tmp_path / "photos 0.tar")
    for split, rows in (("validation", validation()), ("test", held_out_images()), ("train", own_images())):
        write_hugging_face_parquet(tmp_path / f"{split}-00000-of-00001.parquet", rows)
    with serving_files(tmp_path) as address:
        splits = {split: f"{address}/{split}-00000-of-00001.parquet" for split in ("validation", "test")}
        add(api, "upstream", {
            "name": "web-photos", "index_encoder": "mini-clip", "location": f"{address}/photos%200.tar",
        })  # fmt: skip
        add(api, "target", {"name": "web-classes", "splits": splits})
        add(api, "dataset", {
            "name": "web-own", "target": "web-classes", "origin": "real",
            "location": f"{address}/train-00000-of-00001.parquet",
        })  # fmt: skip
        verdict = judged(api, small_study("web"))
    names = [label["display_name"] for label in answered(api.get("/v1/targets/web-classes"), 200)["classes"]]
    assert tuple(names) == CLASSES
    upstream = answered(api.get("/v1/upstreams/web-photos"), 200)
    assert upstream["account"]["account"]["taken"] == len(photos())
    assert verdict["primary"]["test_images"] == len(held_out_images())
    assert not any("not known" in warning for warning in verdict["warnings"])


def test_the_readmes_request_creates_an_experiment(checkout: Path, api: httpx.Client) -> None:
    [command] = re.findall(r"```sh\n(curl .*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert README_SERVER in command
    typed = command.replace(README_SERVER, str(api.base_url).rstrip("/"))
    answer = subprocess.run(("sh", "-c", typed), cwd=checkout, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0
    found = re.search(r'"id":\s*"(exp_\w+)"', answer.stdout)
    assert found, answer.stdout
    answered(api.post(f"/v1/experiments/{found[1]}/cancel"), 200)


def test_a_backup_brings_back_an_experiment_that_was_deleted(
    checkout: Path, variables: Mapping[str, str], api: httpx.Client, tmp_path: Path
) -> None:
    def experiments() -> list[tuple[str, str]]:
        return [(each["id"], each["phase"]) for each in answered(api.get("/v1/experiments"), 200)["items"]]

    before = experiments()
    assert len(before) == 4  # of the page, over REST, of a web server, of the README
    type_in(checkout, variables, f"make backup TO={tmp_path}")
    assert api.delete(f"/v1/experiments/{before[0][0]}").status_code == 204
    assert "rows of 20" in type_in(checkout, variables, f"make restore FROM={tmp_path} REPLACE=1")
    assert experiments() == before
    answered(api.get("/readyz"), 200)


def test_weights_are_collected_and_images_taken_down(
    checkout: Path, variables: Mapping[str, str], api: httpx.Client
) -> None:
    said = type_in(checkout, variables, "make collect WEIGHTS=none DELETE=1 GRACE=0")
    [collected] = map(int, re.findall(r"the weights of (\d+) runs", said))
    assert collected >= 2 * 2 * 2, "of the page's experiment: two arms, two sizes, two seeds"
    looked = type_in(checkout, variables, 'make takedown KEY="no such key" LOOK=1')
    assert "0 images found, 0 steps made again" in looked
    type_in(checkout, variables, f'make takedown IMAGE={"0" * 64} REASON="a test"')
    [takedown] = answered(api.get("/v1/takedowns"), 200)["items"]
    assert (takedown["images"], takedown["reason"]) == (["0" * 64], "a test")


def test_down_stops_it(checkout: Path, variables: Mapping[str, str], api: httpx.Client) -> None:
    assert "stopped" in type_in(checkout, variables, "make down")
    with pytest.raises(httpx.TransportError):
        api.get("/healthz")
