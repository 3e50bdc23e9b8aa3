"""What of the splits and of the training images a reader should know before believing a verdict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.steps import JudgeExperiment, SplitsCompared, TargetChecked
from touchstone_contracts.values import StepId
from touchstone_runtime.finished import FinishedSteps, read_all
from touchstone_runtime.phases import phase


@dataclass(frozen=True)
class Copies:
    """Images of a split among those that an arm may train on, byte by byte."""

    target: str
    split: str
    arm: str
    images: int


@dataclass(frozen=True)
class SplitEvidence:
    checks: Mapping[str, TargetChecked]
    """By target; none of plans of before there were any."""
    compared: Mapping[str, SplitsCompared]
    """Likewise; none where the leak check is off."""
    copies: tuple[Copies, ...]
    """Of the splits that curation did not look for."""


@phase("load")
def read_split_evidence(request: JudgeExperiment, comparison: Comparison, steps: FinishedSteps) -> SplitEvidence:
    """Raises MissingObject when a measurement was lost from the object store."""
    layout = request.layout
    checks = read_all(steps.checked, (entry.step for entry in layout.checks))
    compared = read_all(steps.compared, (entry.step for entry in layout.likenesses))
    return SplitEvidence(
        checks={entry.target: checks[entry.step] for entry in layout.checks},
        compared={entry.target: compared[entry.step] for entry in layout.likenesses},
        copies=tuple(_copies(request, comparison, steps)),
    )


def fairness_warnings(request: JudgeExperiment, evidence: SplitEvidence) -> Iterator[str]:
    for target, check in evidence.checks.items():
        for shared in check.shared:
            a, b = shared.splits
            yield f"{target}: {_images(shared.images)} of the {a} split {_are(shared.images)} in the {b} split, too."
        for split in check.splits:
            if split.absent:
                yield f"{target}: the {split.split} split has no image of {_classes(len(split.absent))}."
            if split.in_two_classes:
                images = split.in_two_classes
                yield f"{target}: {_images(images)} of the {split.split} split {_are(images)} in two classes or more."
    for target, compared in evidence.compared.items():
        yield from _alike_images(target, compared)
    yield from _copied_tests(request, evidence)
    for found in evidence.copies:
        if found.split == "validation" and found.images:
            yield (
                f"{found.target}: {_images(found.images)} of the validation split {_are(found.images)} among those "
                f"that {found.arm} may train on, and mislead its choice of learning rate and epoch; "
                "leak_splits: [test, validation] keeps them out."
            )


def _alike_images(target: str, compared: SplitsCompared) -> Iterator[str]:
    measured = f"a cosine of {compared.cosine:g} or more by the encoder that looks for leaks, in other files"
    for alike in compared.alike:
        a, b = alike.splits
        found = f"{_images(alike.images)} of the {a} split {_look(alike.images)} like one of the {b} split"
        yield f"{target}: {found}: {measured}."
    for split, images in compared.in_two_classes.items():
        found = f"{_images(images)} of the {split} split {_look(images)} like one of another class"
        yield f"{target}: {found}: {measured}."
    for split in compared.left_out:
        yield f"{target}: the {split} split is too large to be searched for images like those of other splits."


def _copied_tests(request: JudgeExperiment, evidence: SplitEvidence) -> Iterator[str]:
    """The check is off, so every arm is told of, whether it has any or none."""
    copies = [found for found in evidence.copies if found.split != "validation"]
    if copies:
        counts = ", ".join(
            f"{found.arm} {found.images} at {found.target}"
            + ("" if found.split == MAIN_TEST_SET else f" ({found.split})")
            for found in copies
        )
        yield (
            "Test images were not looked for among the training images. Exact copies among those that an arm may train "
            f"on: {counts}. Copies in another size or format are not counted."
        )


def _copies(request: JudgeExperiment, comparison: Comparison, steps: FinishedSteps) -> Iterator[Copies]:
    for target, split, step in _unchecked_splits(request):
        known = set(steps.split(step)["id"].to_pylist())
        for arm in request.copies_in or (comparison.a, comparison.b):
            pool = request.layout.curations.get((target, arm))
            if pool is not None:
                kept = set(steps.kept(pool)["id"].to_pylist())
                yield Copies(target, split, arm, len(kept & known))


def _unchecked_splits(request: JudgeExperiment) -> Iterator[tuple[str, str, StepId]]:
    layout = request.layout
    for entry in (*(layout.tests if "test" in request.unchecked else ()), *layout.validations):
        yield entry.target, entry.test_set, entry.step


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _look(count: int) -> str:
    return "looks" if count == 1 else "look"


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"
