"""Which sources a project may read: the installation's list and its own, both of which must permit."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Entry, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.locations import Located
from touchstone_contracts.problems import FieldError, Invalid
from touchstone_contracts.sources import AllowedSources, Host, ProjectSources, SourceNotAllowed, places_in
from touchstone_planning.resolve import Found
from touchstone_planning.sources import MOST_NAMED, and_more, require_allowed
from touchstone_store.catalogue import RegisteredNames, kind_of
from touchstone_store.projects import limits_of


@dataclass(frozen=True)
class ProjectPolicy:
    """What one project may name in a document, and use of what is registered."""

    session: Session
    project: str
    installation: AllowedSources

    def require_document(self, document: Entry | ExperimentSpec | Located) -> None:
        """That everything it wants read may be read. Raises SourceNotAllowed, or Invalid (code `hub_not_pinned`)."""
        own = self.of(self.project)
        _require_own_uploads(document, self.project)
        require_allowed((self.installation,) if own is None else (self.installation, own), document)

    def require_registered(self, found: Iterable[Found], names: RegisteredNames) -> None:
        """An entry is held to the list that its project has today, not to the list of whoever uses it: it was shared to
        be used. The installation's list is asked when an entry is registered, and by workers.

        Raises SourceNotAllowed with a JSON pointer for each name."""
        errors = [
            FieldError(pointer=each.pointer, detail=refusal)
            for each in found
            if (refusal := self._refusal(each.entry, names.owner(each.entry))) is not None
        ]
        if errors:
            raise SourceNotAllowed(and_more(errors[0].detail, len(errors)), errors=tuple(errors[:MOST_NAMED]))

    def hosts_of_links(self, upstream: Upstream, names: RegisteredNames) -> tuple[Host, ...] | None:
        """That links of the upstream may lead to, beside what workers allow. None: nothing narrows that."""
        sources = self.of(names.owner(upstream)) if upstream.has_links else None
        return None if sources is None else sources.hosts_of_links

    def of(self, project: str) -> ProjectSources | None:
        return limits_of(self.session, project).sources

    def _refusal(self, entry: Entry, owner: str) -> str | None:
        """None where the entry may be used."""
        sources = self.of(owner)
        if sources is None:
            return None
        try:
            require_allowed((sources,), entry)
        except Invalid as refused:
            named = f"{kind_of(type(entry))} {entry.name!r}"
            if owner == self.project:
                return f"{named}: {refused.detail}"
            return f"{named} may not be read by the project that shares it any more; ask the operator"
        return None


def _require_own_uploads(document: BaseModel, project: str) -> None:
    """Raises SourceNotAllowed: another project's archives are its own, whoever knows their ids."""
    errors = [
        FieldError(pointer=pointer, detail=f"{place} is no upload of this project: GET /v1/uploads lists those it has")
        for pointer, place, _ in places_in(document)
        if place.startswith("upload://") and not place.startswith(f"upload://{project}.")
    ]
    if errors:
        raise SourceNotAllowed(and_more(errors[0].detail, len(errors)), errors=tuple(errors[:MOST_NAMED]))
