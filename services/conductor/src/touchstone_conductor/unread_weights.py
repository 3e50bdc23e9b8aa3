"""Adapted encoders whose weights nobody reads any more: every evaluation that could read them is done."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from touchstone_contracts.steps import ADAPT_ENCODER, EVALUATE_ENCODER, PROBE_SOURCES
from touchstone_contracts.values import StepId
from touchstone_runtime.artifacts import Artifacts
from touchstone_store.database import Store
from touchstone_store.steps import StoredRequest, finished_by, pages_of_requests

from touchstone_conductor.settings import KeptWeights

PAGE = 200
READERS = (EVALUATE_ENCODER.name, PROBE_SOURCES.name)


@dataclass(frozen=True)
class UnreadWeights:
    store: Store
    artifacts: Artifacts
    policy: KeptWeights
    unowned: Collection[StepId] = frozenset()
    """Steps that no plan needs: what they read does not count."""

    def runs(self, finished_before: datetime) -> set[StepId]:
        """The adaptations whose weights may be let go. Raises Transient."""
        if self.policy == "all":
            return set()
        needed = set[StepId]()
        for page in pages_of_requests(self.store, READERS, PAGE):
            needed |= {run for step in page if step.id not in self.unowned for run in self._needed_by(step)}
        with self.store.read() as session:
            return finished_by(session, ADAPT_ENCODER.name, finished_before) - needed

    def _needed_by(self, step: StoredRequest) -> set[StepId]:
        """All that an unfinished step reads; of a finished evaluation the run that it tested."""
        manifest = self.artifacts.manifest(step.id) if step.state == "succeeded" else None
        if manifest is None:
            return {run["step"] for run in _runs(step.request["adaptations"])}
        if self.policy == "none" or step.kind != EVALUATE_ENCODER.name:
            return set()
        tested = (manifest.result.get("learning_rate"), step.request["seed"])
        return {
            run["step"] for run in _runs(step.request["adaptations"]) if (run["learning_rate"], run["seed"]) == tested
        }


def _runs(stored: Collection[Any]) -> list[Mapping[str, Any]]:
    """Of one grid or of several."""
    found: list[Mapping[str, Any]] = []
    for entry in stored:
        found += [entry] if isinstance(entry, Mapping) else _runs(entry)
    return found
