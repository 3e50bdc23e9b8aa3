"""An experiment as the api answers it, without an api."""

from datetime import UTC, datetime
from typing import Any

from support.specs import spec
from touchstone_contracts.identity import sha256
from touchstone_contracts.views import ExperimentDetail, StepCounts


def detail(phase: str = "succeeded") -> dict[str, Any]:
    view = ExperimentDetail(
        id="exp_1",
        identity=sha256(b"x"),
        name="quick",
        phase=phase,
        spec=spec(),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        steps=StepCounts(total=1),
    )
    return view.model_dump(mode="json")
