"""One candidate image of an arm with everything that is stored about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from touchstone_contracts.values import StepId
from touchstone_contracts.views import CandidateImage, OtherEntry
from touchstone_planning.arms.planner import planner_of

from touchstone_api.results.held_out import held_out_image
from touchstone_api.results.image_facts import image_facts
from touchstone_api.results.images import ArmAddresses, Selection, known_number, part_of, parts_of
from touchstone_api.results.reader import ResultsReader
from touchstone_api.results.reasons import rules_of, why


@dataclass(frozen=True)
class CandidateReader:
    """Reads the candidates of one curated pool. `step`: the one that curated it."""

    reader: ResultsReader
    addresses: ArmAddresses
    step: StepId

    def read(self, row: int, selection: Selection) -> CandidateImage:
        """`row` is one of the pool's. `selection`: what its neighbours on pages are looked for in."""
        found: dict[str, Any] = self.reader.finished.pool(self.step).slice(row, 1).to_pylist()[0]
        experiment, target, arm = self.addresses.experiment, self.addresses.target, self.addresses.arm
        resolved = self.reader.resolved(experiment)
        parts = parts_of(resolved.spec, arm)
        made_by = part_of(found, parts) or arm
        origin = planner_of(resolved.arm(made_by)).origin(resolved.arm(made_by)) if found["parent"] else None
        of_parent = ArmAddresses(experiment, origin, target) if origin else None
        return CandidateImage(
            **image_facts(found, resolved, parts, self.addresses),
            row=row,
            kept=found["kept"],
            drop_reason=found["drop_reason"],
            why=why(found, rules_of(resolved.spec, made_by)),
            nearest_test=held_out_image(self.reader, experiment, target, found["nearest_test_id"]),
            nearest_validation_id=found["nearest_validation_id"],
            nearest_validation_cosine=known_number(found["nearest_validation_cosine"]),
            nearest_validation=held_out_image(self.reader, experiment, target, found["nearest_validation_id"]),
            parent_arm=origin,
            parent_url=of_parent.bytes_of(found["parent"]) if of_parent else "",
            page=self.addresses.page_of(found["id"], row, selection),
            other_entries=tuple(self._others(found["id"], row)),
        )

    def _others(self, image: str, row: int) -> Iterator[OtherEntry]:
        import pyarrow as pa
        import pyarrow.compute as pc

        pool = self.reader.finished.pool(self.step)
        classes = self.reader.resolved(self.addresses.experiment).classes_of(self.addresses.target)
        found = np.flatnonzero(pc.equal(pool["id"], image).to_numpy()).tolist()
        others = [other for other in found if other != row]
        facts = pool.select(["class_id", "kept", "drop_reason"]).take(pa.array(others, pa.int64()))
        for number, other in zip(others, facts.to_pylist(), strict=True):
            yield OtherEntry(
                **other,
                class_name=classes[other["class_id"]].display_name,
                page=self.addresses.page_of(image, number, Selection()),
            )
