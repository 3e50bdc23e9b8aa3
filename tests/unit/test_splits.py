"""What cannot be a fair test is refused when it is registered, as far as the document tells."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.memory_services import api_client, memory_services
from support.specs import DictLookup, source, spec, target
from touchstone_contracts.arms.given import Given
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import ClassFolders, ParquetFile, SourceFiles, Splits, Target
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_planning.fairness import check_fair
from touchstone_planning.resolve import resolve
from touchstone_planning.splits import check_splits

PLAIN = target("fine")


def folders(*names: str, location: str = "library:birds", content: str = "") -> ClassFolders:
    digest = sha256(f"{location} {names} {content}".encode())
    return ClassFolders(location=location, digest=digest, images=9, folders=names)


def with_splits(**splits: Any) -> Target:
    known = {"validation": PLAIN.splits.validation, "test": PLAIN.splits.test}
    return PLAIN.model_copy(update={"splits": Splits.model_validate(known | splits)})


def moved(name: str, digest_of: str) -> Any:
    return source(name).model_copy(update={"digest": sha256(digest_of.encode())})


def files(*names: str) -> SourceFiles:
    return SourceFiles(files=tuple(source(name) for name in names))


VALIDATION_IS_TEST = ("/splits/validation", "'validation' names the images of 'test'")


@pytest.mark.parametrize(
    ("splits", "found"),
    [
        ({"validation": moved("copy", "fine-test")}, VALIDATION_IS_TEST),
        ({"validation": moved("fine-test", "other bytes")}, VALIDATION_IS_TEST),
        ({"validation": folders("a", "b", "c"), "test": folders("d", "e", "c")}, VALIDATION_IS_TEST),
        (
            {"validation": source("x"), "train": source("x")},
            ("/splits/train", "'train' names the images of 'validation'"),
        ),
        ({"train": moved("elsewhere", "fine-test")}, ("/splits/train", "'train' names the images of 'test'")),
        (
            {"further_tests": {"sketch": moved("fine-test", "other bytes")}},
            ("/splits/further_tests/sketch", "'sketch' names the images of 'test'"),
        ),
        (
            {"test": files("a", "b"), "validation": files("c", "d", "b")},
            ("/splits/validation/files/2", "library:b.parquet is in 'test' and in 'validation'"),
        ),
        (
            {"test": files("a", "b"), "train": files("a", "c", "b")},
            (
                "/splits/train/files/0",
                "library:a.parquet is in 'test' and in 'train', and so are 1 more files of 'train'",
            ),
        ),
        (
            {"test": files("a", "b"), "validation": moved("copy", "b")},
            (
                "/splits/validation",
                "library:copy.parquet, the same bytes as library:b.parquet, is in 'test' and in 'validation'",
            ),
        ),
        (
            {"test": files("a", "b"), "validation": source("b")},
            ("/splits/validation", "library:b.parquet is in 'test' and in 'validation'"),
        ),
        (
            {"test": folders("a", "b", "a")},
            ("/splits/test/folders/2", "folder 'a' is given to class 0 and to class 2"),
        ),
    ],
)
def test_splits_that_share_their_images_are_refused_with_their_pointer(
    splits: dict[str, Any], found: tuple[str, str]
) -> None:
    with pytest.raises(Invalid) as refused:
        check_splits(with_splits(**splits))
    assert refused.value.code == "splits_overlap"
    assert [(error.pointer, error.detail) for error in refused.value.errors] == [found]


@pytest.mark.parametrize(
    "splits",
    [
        {},
        {"train": source("t"), "further_tests": {"sketch": source("s")}},
        {"validation": folders("a1", "b1", "c1"), "test": folders("a2", "b2", "c2")},
        {"validation": folders("a", "b", "c"), "test": folders("a", "b", "c", location="library:test")},
    ],
)
def test_splits_of_their_own_are_taken(splits: dict[str, Any]) -> None:
    check_splits(with_splits(**splits))


@pytest.fixture
def client(tmp_path: Path) -> Any:
    with api_client(memory_services(tmp_path)) as client:
        yield client


def test_the_test_split_given_as_validation_is_not_registered(client: TestClient) -> None:
    body = PLAIN.model_dump(mode="json")
    body["splits"]["validation"] = body["splits"]["test"]
    refused = client.post("/v1/targets", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "splits_overlap")
    assert client.get("/v1/targets/fine").status_code == 404


def test_a_data_set_with_one_folder_for_two_classes_is_not_registered(client: TestClient) -> None:
    images = folders("a", "b", "b").model_dump(mode="json")
    refused = client.post("/v1/datasets", json={"name": "d", "target": "fine", "images": images})
    assert (refused.status_code, refused.json()["code"]) == (422, "splits_overlap")
    assert refused.json()["errors"][0]["pointer"] == "/images/folders/2"


@pytest.mark.parametrize("split", ["test", "validation", "sketch"])
def test_a_given_arm_does_not_train_on_what_is_held_out(split: str) -> None:
    lookup = DictLookup(("sketch",))
    held_out = lookup.targets["fine"].splits.by_name[split]
    assert isinstance(held_out, ParquetFile)
    lookup.datasets["fine-by-hand"] = lookup.datasets["fine-by-hand"].model_copy(update={"images": held_out})
    arms = (Retrieval(name="real"), Given(name="brought", datasets=("fine-by-hand",)))
    with pytest.raises(Invalid) as refused:
        check_fair(resolve(spec(arms=arms, targets=("fine",), sizes=(6,)), lookup))
    (error,) = refused.value.errors
    detail = f"'fine-by-hand' names the images of 'fine' that are its {split} split: {held_out.location}"
    assert (error.pointer, error.detail) == ("/arms/1/datasets/0", detail)
