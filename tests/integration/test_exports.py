"""`touchstone export` of a finished experiment: each layout read back, image by image."""

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.json
import pytest
import yaml
from huggingface_hub import DatasetCard
from PIL import Image
from support.finished_experiments import finished_on_memory
from support.memory_services import OPERATOR_KEY
from support.served_api import serving_api
from touchstone import Client, NotExported, export_training_set
from touchstone.cli import app
from touchstone.commands import export as command
from touchstone.credentials import KEY_VARIABLE
from touchstone.exports import layouts
from touchstone.exports.card import front_matter
from touchstone_contracts.identity import identity, sha256
from typer.testing import CliRunner, Result

LAYOUTS = ("hf-dataset", "webdataset", "fiftyone")


@dataclass(frozen=True)
class World:
    server: str
    experiment: str

    @property
    def client(self) -> Client:
        return Client(self.server, key=OPERATOR_KEY)

    def types(self, *words: str) -> Result:
        return CliRunner().invoke(app, list(words), env={KEY_VARIABLE: OPERATOR_KEY, "TOUCHSTONE_SERVER": self.server})

    def exports(self, folder: Path, *words: str, arm: str = "retrieved", target: str = "fine") -> Result:
        return self.types("export", "quick", "--arm", arm, "--target", target, *words, str(folder))

    def images(self, arm: str, size: int | None = 12, seed: int | None = 1) -> list[dict[str, Any]]:
        found = self.client.training_images(self.experiment, arm, "fine", size=size, seed=seed)
        return [image.model_dump(mode="json") for image in found]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    services, _, told = finished_on_memory(tmp_path_factory.mktemp("finished"))
    with serving_api(services) as server:
        yield World(server, told.id)


@dataclass
class ReadBack:
    """One image of a folder, as its layout's readers see it."""

    content: bytes
    label: int
    record: dict[str, Any]


def read_image_folder(folder: Path) -> list[ReadBack]:
    """By the rules of Hugging Face's imagefolder: metadata.jsonl of a split names files beside it; pyarrow reads it."""
    lines = pyarrow.json.read_json(folder / "train" / "metadata.jsonl").to_pylist()
    assert {line["file_name"] for line in lines} == {
        file.relative_to(folder / "train").as_posix() for file in (folder / "train").rglob("*.png")
    }
    return [ReadBack((folder / "train" / line["file_name"]).read_bytes(), line["label"], line) for line in lines]


def read_tars(folder: Path) -> list[ReadBack]:
    """By the rules of WebDataset: members that share what is before the first dot are one sample."""
    samples: dict[str, dict[str, bytes]] = {}
    for shard in sorted(folder.glob("train-*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                read = archive.extractfile(member)
                assert read is not None
                samples.setdefault(key, {})[extension] = read.read()
    assert {frozenset(sample) for sample in samples.values()} == {frozenset({"png", "cls", "txt", "json"})}
    found = [ReadBack(each["png"], int(each["cls"]), json.loads(each["json"])) for each in samples.values()]
    assert [each["txt"].decode() for each in samples.values()] == [read.record["caption"] for read in found]
    return found


def read_fiftyone(folder: Path) -> list[ReadBack]:
    """By the rules of FiftyOneImageClassificationDataset: labels are numbers of classes, keys are names of files."""
    labels = json.loads((folder / "labels.json").read_text("utf-8"))
    assert labels["classes"] == ["thing 0", "thing 1", "thing 2"]
    records = {line["key"]: line for line in map(json.loads, (folder / "provenance.jsonl").read_text().splitlines())}
    files = {file.stem: file for file in (folder / "data").iterdir()}
    assert files.keys() == labels["labels"].keys() == records.keys()
    return [ReadBack(files[key].read_bytes(), labels["labels"][key], records[key]) for key in sorted(files)]


READERS: dict[str, Callable[[Path], list[ReadBack]]] = dict(
    zip(LAYOUTS, (read_image_folder, read_tars, read_fiftyone), strict=True)
)


@pytest.mark.parametrize("arm", ["retrieved", "synthetic"])
@pytest.mark.parametrize("to", LAYOUTS)
def test_a_layout_reads_back_as_the_images_that_were_trained_on(
    world: World, tmp_path: Path, to: str, arm: str
) -> None:
    done = world.exports(tmp_path / "out", "--to", to, "--size", "12", "--seed", "1", arm=arm)
    assert done.exit_code == 0, done.output
    found, expected = READERS[to](tmp_path / "out"), world.images(arm)
    assert len(found) == len(expected) == 12
    assert [sha256(each.content) for each in found] == [image["id"] for image in expected]
    assert [each.label for each in found] == [image["class_id"] for image in expected]
    for each, image in zip(found, expected, strict=True):
        told = {name: value for name, value in image.items() if name not in ("url", "class_id")}
        assert {name: each.record[name] for name in told} == told
    recorded = world.client.training_set(world.experiment, arm, "fine", size=12, seed=1).trained_on
    assert identity([[sha256(each.content), each.label] for each in found]) == recorded


def test_without_a_size_every_kept_image_is_written_and_can_be_opened(world: World, tmp_path: Path) -> None:
    done = world.exports(tmp_path / "out", "--json")
    answer = json.loads(done.stdout)
    assert (answer["images"], answer["to"], answer["trained_on"]) == (24, "hf-dataset", None)
    files = list((tmp_path / "out").rglob("*.png"))
    assert len(files) == 24
    assert {Image.open(file).size for file in files} == {(32, 32)}


def test_many_images_are_cut_into_folders_and_shards(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "IMAGES_OF_A_FOLDER", 10)
    monkeypatch.setattr(layouts, "SHARD_IMAGES", 10)
    for to in LAYOUTS[:2]:
        assert world.exports(tmp_path / to, "--to", to).exit_code == 0
        assert len(READERS[to](tmp_path / to)) == 24
    folders = sorted(file.name for file in (tmp_path / "hf-dataset" / "train").iterdir())
    assert folders == ["0000", "0001", "0002", "metadata.jsonl"]
    assert len(list((tmp_path / "webdataset").glob("*.tar"))) == 3
    assert "{000000..000002}" in (tmp_path / "webdataset" / "README.md").read_text()


@pytest.mark.parametrize("to", LAYOUTS)
def test_the_same_export_twice_is_the_same_bytes(world: World, tmp_path: Path, to: str) -> None:
    written = []
    for parent in ("one", "two"):
        (tmp_path / parent).mkdir()
        assert world.exports(tmp_path / parent / "out", "--to", to, "--size", "6").exit_code == 0
        files = sorted(file for file in (tmp_path / parent / "out").rglob("*") if file.is_file())
        written.append({file.relative_to(tmp_path / parent).as_posix(): file.read_bytes() for file in files})
    assert written[0] == written[1]
    assert len(written[0]) >= 2


def test_the_card_is_one_of_the_hub_and_names_its_evidence(world: World, tmp_path: Path) -> None:
    assert world.exports(tmp_path / "out", "--size", "12", "--seed", "1", arm="synthetic").exit_code == 0
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert DatasetCard(text).data.to_dict() == {
        "license": "unknown",
        "pretty_name": "quick: training set of arm synthetic",
        "task_categories": ["image-classification"],
        "size_categories": ["n<1K"],
        "tags": ["touchstone", "synthetic"],
    }
    manifest, held = (
        world.client.manifest(world.experiment),
        world.client.training_set(world.experiment, "synthetic", "fine", size=12, seed=1),
    )
    command_line = re.search(r"`(touchstone export .*)`", text)
    assert command_line is not None
    assert command_line[1] == (
        f"touchstone export {world.experiment} --arm synthetic --target fine --size 12 --seed 1 --to hf-dataset out"
    )
    for words in (
        world.experiment, manifest.identity, manifest.results_digest, held.digest, "12 images of 3 of 3 classes",
        "Upstream `world`: not stated when it was registered", "Generator `diffusion`: library:sd", "trained on world",
        "trained on: the same", "- 12 made by a generator", "| 0 | thing 0 | 4 |",
    ):  # fmt: skip
        assert words in text
    assert str(tmp_path) not in text
    repeated = world.types(*command_line[1].split()[1:-1], str(tmp_path / "again"))
    assert repeated.exit_code == 0
    assert (tmp_path / "again" / "train" / "metadata.jsonl").read_bytes() == (
        tmp_path / "out" / "train" / "metadata.jsonl"
    ).read_bytes()


@pytest.mark.parametrize(
    ("licence", "front"),
    [
        ("", {"license": "unknown"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("As agreed: research only!", {"license": "other", "license_name": "as-agreed-research-only"}),
    ],
)
def test_the_licence_is_the_registered_one_of_the_upstream(
    world: World, tmp_path: Path, licence: str, front: dict[str, str]
) -> None:
    from touchstone.exports.card import Written, data_card

    manifest = world.client.manifest(world.experiment)
    upstream = manifest.upstream.model_copy(update={"licence": licence})
    written = Written(
        experiment=world.experiment,
        manifest=manifest.model_copy(update={"upstream": upstream}),
        training_set=world.client.training_set(world.experiment, "retrieved", "fine"),
        classes=["thing 0", "a | b", "thing 2"],
        layout="hf-dataset",
        folder="out",
        shards=0,
        images_by_kind={"upstream": 24},
    )
    found = front_matter(written)
    assert {name: value for name, value in found.items() if name.startswith("license")} == front
    text = data_card(written)
    assert yaml.safe_load(text.split("---\n")[1]) == found
    assert f"Upstream `world`: {licence or 'not stated'}" in text
    assert r"| 1 | a \| b |" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--arm", "retreived", "--target", "fine"), "did you mean 'retrieved'?"),
        (("--arm", "none", "--target", "fine"), "there is no arm that trains 'none'; there are 'retrieved' and 'synth"),
        (("--arm", "retrieved", "--target", "fin"), "did you mean 'fine'?"),
        (("--arm", "retrieved"), "name a target: fine, broad"),
        (("--arm", "retrieved", "--target", "fine", "--size", "7"), "has no size 7; there are 6 and 12"),
        (("--arm", "retrieved", "--target", "fine", "--size", "6", "--seed", "9"), "no seed 9; there are 0, 1 and 2"),
        (("--arm", "retrieved", "--target", "fine", "--seed", "1"), "name --size too"),
        (("--arm", "retrieved", "--target", "fine", "--to", "coco"), "coco"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(
    world: World, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    refused = world.types("export", "quick", *words, str(tmp_path / "out"))
    assert refused.exit_code == 2
    assert told in " ".join(re.sub(r"[│\n]", " ", refused.output).split())
    assert "Traceback" not in refused.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_as_it_is(world: World, tmp_path: Path) -> None:
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for folder, told in ((full, "is not empty"), (file, "is a file"), (tmp_path / "no" / "out", "there is no folder")):
        refused = world.exports(folder, "--size", "6")
        assert refused.exit_code == 2
        assert told in " ".join(refused.output.split())
    assert world.exports(empty, "--size", "6").exit_code == 0
    assert (file.read_text(), [each.name for each in full.iterdir()]) == ("mine", ["mine.txt"])
    assert len(read_image_folder(empty)) == 6
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "file", "full"]


@pytest.mark.parametrize("to", LAYOUTS)
def test_an_interrupted_export_leaves_no_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    seen = []

    def interrupted(*words: Any, **options: Any) -> None:
        def watcher(done: int, total: int) -> None:
            seen.append((done, sorted(each.name for each in tmp_path.iterdir())))
            if done == 3:
                raise KeyboardInterrupt

        export_training_set(*words, **{**options, "watcher": watcher})

    monkeypatch.setattr(command, "export_training_set", interrupted)
    stopped = world.exports(tmp_path / "out", "--to", to)
    assert (stopped.exit_code, seen[-1]) == (130, (3, ["out.part"]))
    assert "out was not written" in " ".join(stopped.output.split())
    assert list(tmp_path.iterdir()) == []


def test_what_an_ended_export_left_is_not_removed_unasked(world: World, tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    with pytest.raises(NotExported, match="remove it first"):
        export_training_set(world.client, "quick", "retrieved", tmp_path / "out", target="fine", size=6)
    assert [each.name for each in tmp_path.iterdir()] == ["out.part"]
