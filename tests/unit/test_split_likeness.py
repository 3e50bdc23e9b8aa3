"""Images of a target's splits that look alike without being the same file: planned, counted, told by the verdict."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.finished_experiments import finish_experiment, post_experiment, write_result
from support.memory_services import memory_services
from support.specs import DictLookup, resolved, source, spec
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import Splits
from touchstone_contracts.identity import sha256
from touchstone_contracts.keys import manifest_key
from touchstone_contracts.steps import AlikeImages, CompareSplits, CurateImages, JudgeExperiment, SplitsCompared
from touchstone_contracts.views import Verdict
from touchstone_judge.tasks import Tools, judge_experiment
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.split_check import MOST_COMPARED
from touchstone_retrieval.curation.split_likeness import LabelledVectors, compare_splits
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import no_progress

COSINE = 0.95


def split(*images: tuple[str, float, int]) -> LabelledVectors:
    """Each image: its id, its direction in degrees, its class. Ten degrees are a cosine of 0.985, twenty of 0.940."""
    angles = np.radians([degrees for _, degrees, _ in images])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return LabelledVectors(vectors, np.array([label for *_, label in images]), [image for image, *_ in images])


EMPTY = LabelledVectors(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), [])


def compared(**splits: LabelledVectors) -> SplitsCompared:
    return compare_splits(splits, COSINE)


def test_a_picture_stored_in_another_format_is_found_in_the_other_split() -> None:
    found = compared(test=split(("a", 0, 0), ("b", 90, 1)), validation=split(("a-as-webp", 1, 0), ("c", 45, 1)))
    assert found == SplitsCompared(cosine=COSINE, alike=(AlikeImages(splits=("test", "validation"), images=1),))


def test_the_images_of_the_first_split_are_counted_once_each() -> None:
    test = split(("a", 0, 0), ("a", 0, 0), ("b", 5, 0), ("c", 90, 1))
    found = compared(test=test, train=split(("x", 1, 0), ("y", 2, 0), ("z", 4, 0)))
    assert [entry.images for entry in found.alike] == [2]


def test_images_that_are_the_same_file_are_left_to_the_other_check() -> None:
    assert compared(test=split(("a", 0, 0)), validation=split(("a", 0, 0), ("b", 60, 1))).alike == ()


def test_every_pair_of_splits_is_compared() -> None:
    one = {name: split((name, number, 0)) for number, name in enumerate(("test", "sketch", "validation", "train"))}
    found = {entry.splits for entry in compared(**one).alike}
    assert len(found) == 6
    assert ("sketch", "train") in found


@pytest.mark.parametrize(("degrees", "images"), [(0, 1), (18.1, 1), (18.3, 0), (90, 0), (180, 0)])
def test_images_are_alike_from_the_cosine_on(degrees: float, images: int) -> None:
    found = compared(test=split(("a", 0, 0)), validation=split(("b", degrees, 0)))
    assert sum(entry.images for entry in found.alike) == images


def test_one_picture_under_two_files_in_two_classes_is_counted_for_each() -> None:
    images = [("a", 0, 0), ("a-as-webp", 1, 2), ("b", 120, 1), ("c", 60, 2), ("d", 61, 2)]
    for rows in (images, images[::-1]):
        assert compared(test=split(*rows)).in_two_classes == {"test": 2}


def test_images_alike_within_a_class_and_copies_byte_by_byte_are_not() -> None:
    assert compared(test=split(("a", 0, 0), ("b", 0, 0), ("c", 90, 1), ("c", 90, 2))).in_two_classes == {}


def test_a_split_of_one_class_and_one_without_images_are_compared_like_any() -> None:
    found = compared(test=split(("a", 0, 1), ("b", 0, 1)), train=EMPTY, sketch=split(("x", 0, 0)))
    assert found.in_two_classes == {}
    assert [entry.splits for entry in found.alike] == [("test", "sketch")]
    assert compared(train=EMPTY) == SplitsCompared(cosine=COSINE)


# ------------------------------------------------------------------------------------------------ in the plan


def comparisons(**changes: Any) -> list[CompareSplits]:
    plan = plan_experiment(resolved(**changes))
    return [step.request for step in plan.steps if isinstance(step.request, CompareSplits)]


def test_splits_are_compared_as_curation_looks_for_leaks() -> None:
    lookup = DictLookup(("sketch",))
    lookup.encoders["copies"] = lookup.encoders["clip"].model_copy(
        update={"name": "copies", "model": "library:copies", "digest": sha256(b"copies")}
    )
    experiment = spec(targets=("fine",), curation={"leak_cosine": 0.9, "copy_encoder": "copies"})
    plan = plan_experiment(resolve(experiment, lookup))
    (request,) = (step.request for step in plan.steps if isinstance(step.request, CompareSplits))
    assert (list(request.splits), request.cosine, request.left_out) == (["test", "sketch", "validation"], 0.9, ())
    embeddings = [plan.step(each.embeddings).request for each in request.splits.values()]
    assert {embedding.encoder.model for embedding in embeddings} == {"library:copies"}  # type: ignore[attr-defined]
    curated = [step.request for step in plan.steps if isinstance(step.request, CurateImages)]
    assert len(curated) == 2
    assert all(each.test == request.splits["test"] for each in curated)


@pytest.mark.parametrize(
    "changes", [{"curation": {"leak_cosine": None}}, {"arms": (NoTraining(),), "sizes": (6,)}], ids=["off", "untrained"]
)
def test_nothing_is_compared_where_nothing_could_leak(changes: dict[str, Any]) -> None:
    assert comparisons(**changes) == []


def test_a_split_too_large_to_be_compared_is_left_out_by_name() -> None:
    lookup = DictLookup()
    known = lookup.targets["fine"]
    splits = Splits(
        validation=known.splits.validation,
        test=known.splits.test,
        train=source("huge").model_copy(update={"images": MOST_COMPARED + 1}),
    )
    lookup.targets["fine"] = known.model_copy(update={"splits": splits})
    plan = plan_experiment(resolve(spec(targets=("fine",)), lookup))
    (request,) = (step.request for step in plan.steps if isinstance(step.request, CompareSplits))
    assert (list(request.splits), request.left_out) == (["test", "validation"], ("train",))


def test_no_step_of_before_depends_on_the_comparison_but_the_judgement() -> None:
    plan = plan_experiment(resolved())
    readers = Counter(step.kind for step in plan.steps if set(plan.likenesses.values()) & set(step.inputs))
    assert readers == {"judge_experiment": 1}


# ------------------------------------------------------------------------------------------------ in the verdict


def test_the_verdict_repeats_what_looks_alike(tmp_path: Path) -> None:
    objects = MemoryObjects()
    services = memory_services(tmp_path, Artifacts(objects))
    arms = (Retrieval(name="retrieved"), Generation(name="synthetic", generator="diffusion", images=300))
    told = post_experiment(services, spec(arms=arms, targets=("fine",), sizes=(6,), seeds=(0, 1)))
    finish_experiment(services, told)
    found = SplitsCompared(
        cosine=0.95,
        alike=(
            AlikeImages(splits=("test", "validation"), images=2),
            AlikeImages(splits=("validation", "train"), images=1),
        ),
        in_two_classes={"test": 3},
        left_out=("sketch",),
    )
    step = told.plan.likenesses["fine"]
    objects.remove(manifest_key(step))
    write_result(services.artifacts, step, "compare_splits", found)
    (request,) = (step.request for step in told.plan.steps if isinstance(step.request, JudgeExperiment))
    judged = judge_experiment(request, Tools(services.artifacts, FinishedSteps(services.artifacts)), no_progress)  # type: ignore[arg-type]
    assert judged.verdict is not None
    warnings = Verdict.model_validate_json(services.artifacts.get_blob(judged.verdict)).warnings
    measured = "a cosine of 0.95 or more by the encoder that looks for leaks, in other files."
    assert [warning for warning in warnings if "split" in warning] == [
        f"fine: 2 images of the test split look like one of the validation split: {measured}",
        f"fine: 1 image of the validation split looks like one of the train split: {measured}",
        f"fine: 3 images of the test split look like one of another class: {measured}",
        "fine: the sketch split is too large to be searched for images like those of other splits.",
    ]
