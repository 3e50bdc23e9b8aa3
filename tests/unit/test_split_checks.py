"""What only the images of a target tell: found once they are ingested, refused or repeated by the verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, post_experiment, write_result
from support.memory_services import memory_services
from support.specs import spec, target
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.identity import sha256
from touchstone_contracts.keys import manifest_key
from touchstone_contracts.layout import Cell
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import (
    CheckTarget,
    ImagesIngested,
    JudgeExperiment,
    SharedImages,
    SplitFacts,
    TargetChecked,
)
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Verdict
from touchstone_judge.tasks import Tools, check_target, judge_experiment
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import no_progress

CLASSES = target("fine").classes
Rows = Sequence[tuple[str, int]]
"""The picture and its class."""
TEST: Rows = [("a", 0), ("b", 1), ("c", 2), ("d", 2)]
VALIDATION: Rows = [("e", 0), ("f", 1), ("g", 2)]
TRAIN: Rows = [("h", 0), ("i", 1), ("j", 2)]


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def artifacts(objects: MemoryObjects) -> Artifacts:
    return Artifacts(objects)


@pytest.fixture
def services(tmp_path: Path, artifacts: Artifacts) -> Services:
    return memory_services(tmp_path, artifacts)


def ingested(artifacts: Artifacts, rows: Rows, taken_down: str = "") -> ImagesIngested:
    writer = ImageSetWriter(artifacts)
    for picture, class_id in rows:
        gone = {"kept": False, "drop_reason": "taken_down"} if picture == taken_down else {}
        record = ImageRecord(width=1, height=1, source_kind="target", source_key="", class_id=class_id, **gone)  # type: ignore[arg-type]
        writer.add(picture.encode(), record)
    return ImagesIngested(images=writer.finish())


def checked(
    artifacts: Artifacts,
    splits: Mapping[str, Rows],
    further: Mapping[str, Rows] | None = None,
    taken_down: str = "",
) -> TargetChecked:
    """Of three classes: TEST and VALIDATION where the splits are no others, and no training split."""

    def step(name: str, rows: Rows) -> StepId:
        found = sha256(name.encode())
        write_result(artifacts, found, "ingest_images", ingested(artifacts, rows, taken_down))
        return found

    named = {name: step(name, rows) for name, rows in ({"test": TEST, "validation": VALIDATION} | dict(splits)).items()}
    others = {name: step(name, rows) for name, rows in (further or {}).items()}
    request = CheckTarget(classes=CLASSES, further_tests=others, **named)
    return check_target(request, Tools(artifacts, FinishedSteps(artifacts)), no_progress)  # type: ignore[arg-type]


def test_splits_with_images_of_their_own_leave_nothing_to_say(artifacts: Artifacts) -> None:
    assert checked(artifacts, {"train": TRAIN}, {"sketch": [("x", 0), ("y", 1), ("z", 2)]}) == TargetChecked()


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_held_out_split_without_a_class_is_refused_with_its_name(artifacts: Artifacts, split: str) -> None:
    with pytest.raises(Invalid, match=f"the {split} split has no image of 'thing 1' .1. and 'thing 2' .2.") as refused:
        checked(artifacts, {split: [("q", 0)]})
    assert refused.value.code == "class_without_images"


def test_of_many_classes_without_images_the_first_are_named(artifacts: Artifacts) -> None:
    write_result(artifacts, sha256(b"t"), "ingest_images", ingested(artifacts, [("q", 0)]))
    classes = target("many", 40).classes
    request = CheckTarget(classes=classes, test=sha256(b"t"), validation=sha256(b"t"))
    with pytest.raises(Invalid, match=r"'thing 10' \(10\) and 29 other classes"):
        check_target(request, Tools(artifacts, FinishedSteps(artifacts)), no_progress)  # type: ignore[arg-type]


def test_a_training_split_or_further_test_set_without_a_class_is_a_fact(artifacts: Artifacts) -> None:
    found = checked(artifacts, {"train": TRAIN[:1]}, {"sketch": [("x", 0), ("y", 2)]})
    assert found.splits == (SplitFacts(split="sketch", absent=(1,)), SplitFacts(split="train", absent=(1, 2)))


def test_images_that_two_splits_share_are_counted_once_each(artifacts: Artifacts) -> None:
    found = checked(artifacts, {"validation": [*VALIDATION, ("a", 0), ("a", 0)], "train": [*TRAIN, ("a", 0), ("b", 1)]})
    assert found.shared == (
        SharedImages(splits=("test", "validation"), images=1),
        SharedImages(splits=("test", "train"), images=2),
        SharedImages(splits=("validation", "train"), images=1),
    )


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"validation": list(reversed(TEST))}, "all 4 images of the test split are in the validation split"),
        ({"train": [*TRAIN, *TEST]}, "all 4 images of the test split are in the train split"),
        ({"train": [*TRAIN, *VALIDATION]}, "all 3 images of the validation split are in the train split"),
    ],
)
def test_a_split_that_lies_wholly_in_another_is_refused(
    artifacts: Artifacts, splits: dict[str, Rows], words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        checked(artifacts, splits)
    assert refused.value.code == "splits_overlap"


def test_one_picture_in_two_classes_of_a_split_is_counted(artifacts: Artifacts) -> None:
    found = checked(artifacts, {"test": [*TEST, ("a", 1), ("a", 2), ("c", 2)]})
    assert found == TargetChecked(splits=(SplitFacts(split="test", in_two_classes=1),))


def test_what_was_taken_down_is_no_copy(artifacts: Artifacts) -> None:
    splits = {"test": [*TEST, ("x", 0)], "validation": [*VALIDATION, ("a", 0)]}
    assert checked(artifacts, splits).shared == (SharedImages(splits=("test", "validation"), images=1),)
    assert checked(Artifacts(MemoryObjects()), splits, taken_down="a").shared == ()


# ------------------------------------------------------------------------------------------------ in the verdict

ARMS = (Retrieval(name="real"), Generation(name="other", generator="diffusion", images=300))


def truth(cell: Cell, metric: str) -> float:
    return 0.8 if cell.arm == "real" else 0.6


def told_of(services: Services, **curation: Any) -> Told:
    """One target, two arms."""
    experiment = spec(arms=ARMS, targets=("fine",), sizes=(6,), seeds=(0, 1), curation=curation)
    told = post_experiment(services, experiment)
    finish_experiment(services, told, truth=truth)
    return told


def judged_anew(services: Services, told: Told) -> list[str]:
    (request,) = (step.request for step in told.plan.steps if isinstance(step.request, JudgeExperiment))
    # Progress is called with (done, total), as by the function that stands in for it.
    found = judge_experiment(request, Tools(services.artifacts, FinishedSteps(services.artifacts)), no_progress)  # type: ignore[arg-type]
    assert found.verdict is not None
    return list(Verdict.model_validate_json(services.artifacts.get_blob(found.verdict)).warnings)


def replace_result(objects: MemoryObjects, step: StepId, kind: str, result: Any) -> None:
    objects.remove(manifest_key(step))
    write_result(Artifacts(objects), step, kind, result)


def in_arm(objects: MemoryObjects, told: Told, arm: str, pictures: Rows, dropped: Rows = ()) -> None:
    """The pool of an arm holds these, too."""
    step = told.plan.curations["fine", arm]
    known = FinishedSteps(Artifacts(objects)).curated(step)
    writer = ImageSetWriter(Artifacts(objects))
    for rows, kept in ((pictures, True), (dropped, False)):
        for picture, class_id in rows:
            record = ImageRecord(width=1, height=1, source_kind="upstream", source_key="", class_id=class_id, kept=kept)
            writer.add(picture.encode(), record)
    replace_result(objects, step, "curate_images", known.model_copy(update={"images": writer.finish()}))


def test_the_verdict_repeats_what_the_check_found(services: Services, objects: MemoryObjects) -> None:
    told = told_of(services)
    facts = TargetChecked(
        shared=(SharedImages(splits=("test", "train"), images=2), SharedImages(splits=("test", "sketch"), images=1)),
        splits=(SplitFacts(split="train", absent=(1,), in_two_classes=3),),
    )
    replace_result(objects, told.plan.checks["fine"], "check_target", facts)
    assert [warning for warning in judged_anew(services, told) if "split" in warning] == [
        "fine: 2 images of the test split are in the train split, too.",
        "fine: 1 image of the test split is in the sketch split, too.",
        "fine: the train split has no image of 1 class.",
        "fine: 3 images of the train split are in two classes or more.",
    ]


def test_with_the_leak_check_off_copies_of_test_images_are_counted_all_the_same(
    services: Services, objects: MemoryObjects, api: TestClient
) -> None:
    told = told_of(services, leak_cosine=None)
    replace_result(
        objects, told.plan.tests["fine", "test"], "ingest_images", ingested(services.artifacts, [*TEST, *TEST])
    )
    in_arm(objects, told, "other", [("a", 0), ("b", 1), ("x", 1)], dropped=[("c", 2)])
    (found,) = (warning for warning in judged_anew(services, told) if "Test images" in warning)
    assert found == (
        "Test images were not looked for among the training images. Exact copies among those that an arm may train "
        "on: real 0 at fine, other 2 at fine. Copies in another size or format are not counted."
    )
    assert "real 0 at fine, other 0 at fine" in api.get(f"/experiments/{told.id}").text


def test_copies_of_test_images_are_counted_in_every_arm_and_not_in_the_two_compared_alone(
    services: Services, objects: MemoryObjects
) -> None:
    arms = (*ARMS, Generation(name="third", generator="diffusion", images=400))
    experiment = spec(arms=arms, targets=("fine",), sizes=(6,), seeds=(0, 1), curation={"leak_cosine": None})
    told = post_experiment(services, experiment)
    finish_experiment(services, told, truth=truth)
    replace_result(objects, told.plan.tests["fine", "test"], "ingest_images", ingested(services.artifacts, TEST))
    in_arm(objects, told, "third", [("a", 0)])
    requests = [step.request for step in told.plan.steps if isinstance(step.request, JudgeExperiment)]
    counted = {request.copies_in for request in requests}
    assert counted == {("real", "other"), ("real", "other", "third")}
    tools = Tools(services.artifacts, FinishedSteps(services.artifacts))
    judged = judge_experiment(requests[-1], tools, no_progress)  # type: ignore[arg-type]
    assert judged.verdict is not None
    warnings = Verdict.model_validate_json(services.artifacts.get_blob(judged.verdict)).warnings
    (found,) = (warning for warning in warnings if "Test images" in warning)
    assert "real 0 at fine, other 0 at fine, third 1 at fine" in found


def test_validation_images_among_an_arms_are_counted_unless_curation_looks_for_them(
    services: Services, objects: MemoryObjects
) -> None:
    told = told_of(services)
    validation = ingested(services.artifacts, VALIDATION)
    replace_result(objects, told.plan.validations["fine"], "ingest_images", validation)
    assert not [warning for warning in judged_anew(services, told) if "validation split" in warning]
    in_arm(objects, told, "real", [("e", 0), ("x", 1)])
    (found,) = (warning for warning in judged_anew(services, told) if "validation split" in warning)
    assert found == (
        "fine: 1 image of the validation split is among those that real may train on, and mislead its choice of "
        "learning rate and epoch; leak_splits: [test, validation] keeps them out."
    )


@pytest.mark.parametrize(
    ("curation", "unchecked"),
    [
        ({}, ("validation",)),
        ({"leak_splits": ("test", "validation")}, ()),
        ({"leak_splits": ("validation",)}, ("test",)),
        ({"leak_cosine": None}, ("test", "validation")),
    ],
)
def test_a_judgement_reads_the_splits_that_curation_did_not(
    tmp_path: Path, curation: dict[str, Any], unchecked: tuple[str, ...]
) -> None:
    told = told_of(memory_services(tmp_path), **curation)
    (request,) = (step.request for step in told.plan.steps if isinstance(step.request, JudgeExperiment))
    assert request.unchecked == unchecked
    assert len(request.layout.validations) == ("validation" in unchecked)
    assert [entry.target for entry in request.layout.checks] == ["fine"]
