"""A finished experiment whose pools hold images of every fate: kept, leaked, perturbed, of several classes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from support.finished_experiments import Told, finish_experiment, picture, post_experiment, write_result
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.curation import CurationCounts, CurationReport
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import CURATE_IMAGES, INGEST_IMAGES, ImagesCurated, ImagesIngested
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter

CLASSES = 3
HELD_OUT = 6
GAMMAS = {"strong": 0.6, "soft": 0.2}
"""Arms that perturb the images of `retrieved`, in the order of the spec."""
MODEL = sha256(b"model")

FATES = (
    (0, ""), (0, ""), (0, "leaked"), (0, "filtered"),
    (1, ""), (1, ""), (1, "leaked_validation"), (1, "near_duplicate"),
    (2, ""), (2, ""), (2, "over_cap"), (2, "label_conflict"),
)  # fmt: skip
"""(class id, drop reason) of the retrieved images; the last holds the same picture as the first of class 1."""
OF_CLASS_ONE = 4
"""The row of the picture that two classes claim."""


@dataclass(frozen=True)
class ShownRow:
    content: bytes
    record: ImageRecord

    @property
    def id(self) -> str:
        return sha256(self.content)


def show_images(services: Services) -> Told:
    """Two targets; arms `retrieved` and `synthetic`, and two that perturb the images of `retrieved`."""
    perturbing = tuple(
        Perturbation(name=name, parent="retrieved", gamma=gamma, generator="diffusion")
        for name, gamma in GAMMAS.items()
    )
    told = post_experiment(services, spec(arms=(*spec().arms, *perturbing)))
    finish_experiment(services, told, truth=lambda cell, metric: 0.5)
    for (target, _), step in told.plan.tests.items():
        ingested = ImagesIngested(images=_written(services, held_out_rows(target, "test")))
        write_result(services.artifacts, step, INGEST_IMAGES.name, ingested)
    for target, step in told.plan.validations.items():
        ingested = ImagesIngested(images=_written(services, held_out_rows(target, "validation")))
        write_result(services.artifacts, step, INGEST_IMAGES.name, ingested)
    for (target, arm), step in told.plan.curations.items():
        write_result(services.artifacts, step, CURATE_IMAGES.name, _curated(services, pool_rows(target, arm)))
    return told


def held_out_rows(target: str, split: str) -> list[ShownRow]:
    return [
        ShownRow(
            picture(target, split, number),
            ImageRecord(
                width=32, height=32, class_id=number % CLASSES, source_kind="target", source_key=f"{split}-{number}"
            ),
        )
        for number in range(HELD_OUT)
    ]


def pool_rows(target: str, arm: str) -> list[ShownRow]:
    """Every candidate of an arm, in the manifest's order."""
    if arm in GAMMAS:
        return list(_perturbed(target, arm))
    tests, validation = held_out_rows(target, "test"), held_out_rows(target, "validation")
    rows = []
    for number, (class_id, reason) in enumerate(FATES):
        drawn = OF_CLASS_ONE if reason == "label_conflict" else number
        record = ImageRecord(
            width=32,
            height=32,
            source_kind="upstream",
            source_key=f"{arm}-{number}",
            class_id=class_id,
            caption=f"an icon of <thing> {class_id} & friends",
            found_by="text_match/phrase/0",
            query=f"thing {class_id}",
            score=0.2 + number / 1000,
            kept=not reason,
            drop_reason=reason,
            nearest_test_id=tests[class_id].id,
            nearest_test_cosine=0.971 if reason == "leaked" else 0.5,
            nearest_validation_id=validation[class_id].id,
            nearest_validation_cosine=0.962 if reason == "leaked_validation" else 0.4,
        )
        rows.append(ShownRow(picture(target, arm, drawn), _generated(record, number) if arm == "synthetic" else record))
    return rows


def _generated(record: ImageRecord, number: int) -> ImageRecord:
    return replace(
        record,
        source_kind="generated",
        found_by="",
        query="",
        seed=1000 + number,
        model_digest=MODEL,
        scheduler="ddim",
        steps=50,
        guidance_scale=7.5,
    )


def _perturbed(target: str, arm: str) -> Iterator[ShownRow]:
    """One of every kept image of the parent; the first of class 2 leaked."""
    for number, row in enumerate(row for row in pool_rows(target, "retrieved") if row.record.kept):
        leaked = number == 4
        record = replace(
            row.record,
            source_kind="perturbed",
            parent=row.id,
            gamma=GAMMAS[arm],
            seed=7 + number,
            model_digest=MODEL,
            kept=not leaked,
            drop_reason="leaked" if leaked else "",
            nearest_validation_id="",
            nearest_validation_cosine=float("nan"),
        )
        yield ShownRow(picture(target, arm, number), record)


def _written(services: Services, rows: Sequence[ShownRow]) -> ImageSet:
    writer = ImageSetWriter(services.artifacts)
    for row in rows:
        writer.add(row.content, row.record)
    return writer.finish()


def _curated(services: Services, rows: Sequence[ShownRow]) -> ImagesCurated:
    of_class = Counter(row.record.class_id for row in rows)
    kept = Counter(row.record.class_id for row in rows if row.record.kept)
    dropped = Counter((row.record.drop_reason, row.record.class_id) for row in rows if not row.record.kept)
    reasons = dict.fromkeys(reason for reason, _ in dropped)
    by_class = tuple(kept[number] for number in range(CLASSES))
    counts: dict[str, Any] = {
        stage: sum(row.record.drop_reason == stage for row in rows)
        for stage in ("leaked", "near_duplicate", "filtered", "over_cap", "leaked_validation", "label_conflict")
    }
    return ImagesCurated(
        images=_written(services, rows),
        counts=CurationCounts(requested=len(rows) + 3, obtained=len(rows), kept=sum(by_class), **counts),
        kept_by_class=by_class,
        report=CurationReport(
            obtained_by_class=tuple(of_class[number] for number in range(CLASSES)),
            dropped_by_class={
                reason: tuple(dropped[reason, number] for number in range(CLASSES)) for reason in reasons
            },
            kept_by_class=by_class,
            class_coverage=1.0,
        ),
    )
