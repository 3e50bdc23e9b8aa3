"""What `make demo` leaves behind, and the short form of its study that tests run."""

from dataclasses import dataclass
from typing import Any

from touchstone import Client
from touchstone_contracts.views import ExperimentDetail, Results
from touchstone_stack.lifecycle import Stack

SHORT_FORM = {"name": "short look", "targets": ["broad"], "sizes": [40, 80], "seeds": [0, 1]}
SHORT_IMAGES = 220


@dataclass(frozen=True)
class FinishedDemo:
    stack: Stack
    client: Client
    study: dict[str, Any]
    printed: str
    experiment: ExperimentDetail
    results: Results


def short_form(study: dict[str, Any]) -> dict[str, Any]:
    """The same arms, curation and recipe on one target: minutes less."""
    arms = [{**arm, "images": SHORT_IMAGES} if arm["kind"] == "generation" else arm for arm in study["arms"]]
    return {**study, **SHORT_FORM, "arms": arms}
