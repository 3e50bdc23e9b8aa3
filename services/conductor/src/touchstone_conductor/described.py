"""Registers what a worker has looked at: the same document, in the same way, as if somebody had posted it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from touchstone_contracts.catalogue import Encoder, Upstream
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import DESCRIBE_SOURCE, SourceDescribed
from touchstone_contracts.values import StepId
from touchstone_planning.located import document_of
from touchstone_planning.target_checks import check_entry
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import MissingObject
from touchstone_store.catalogue import require_entry
from touchstone_store.database import Store
from touchstone_store.descriptions import Description, looked_at, note_problem, note_registered
from touchstone_store.registering import register_entry, register_upstream

log = get_logger(__name__)


@dataclass(frozen=True)
class DescribedSources:
    store: Store
    artifacts: Artifacts
    now: Callable[[], datetime]

    def register_all(self) -> list[StepId]:
        """Steps whose results are gone, and are needed. Raises Transient."""
        with self.store.read() as session:
            found = looked_at(session)
        return [each.step for each in found if not self._settle(each)]

    def _settle(self, description: Description) -> bool:
        """Whether it was registered or refused."""
        try:
            result = self.artifacts.result(DESCRIBE_SOURCE, description.step)
        except MissingObject:
            return False
        try:
            self._register(description, result)
        except Invalid as refused:
            log.info("description.refused", kind=description.kind, entry=description.name, code=refused.code)
            with self.store.write() as session:
                note_problem(session, description, refused.problem())
        else:
            log.info("description.registered", kind=description.kind, entry=description.name)
            with self.store.write() as session:
                note_registered(session, description, result.notes, self.now())
        return True

    def _register(self, description: Description, result: SourceDescribed) -> None:
        """Raises Invalid where the document is none, or its name is taken."""
        entry, project = document_of(description.located, result), description.project
        if isinstance(entry, Upstream):
            with self.store.read() as session:
                encoder = require_entry(session, Encoder, entry.index_encoder, project)
            register_upstream(self.store, self.artifacts, project, entry, encoder)
            return
        check_entry(entry)
        register_entry(self.store, project, entry)
