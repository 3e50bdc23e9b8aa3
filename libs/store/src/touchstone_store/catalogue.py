"""The registered catalogue in SQL: what names in a spec stand for. Names are given once and never changed."""

from datetime import datetime
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Dataset, Encoder, Generator, Target, Upstream, without_clusters
from touchstone_contracts.problems import NotFound, Unfair

from touchstone_store.tables import CatalogueRow

Entry = Upstream | Target | Encoder | Generator | Dataset
EntryT = TypeVar("EntryT", Upstream, Target, Encoder, Generator, Dataset)


class NameTaken(Unfair):
    """Finished experiments refer to names, so a name keeps its first meaning."""

    code = "name_taken"
    title = "Name taken"


def kind_of(entry_type: type[Entry]) -> str:
    return entry_type.__name__.lower()


def register(session: Session, entry: Entry, now: datetime) -> bool:
    """Whether it is new. A target may say later which of its test images belong together: experiments keep what they
    were posted with. Raises NameTaken when the name stands for another body."""
    kind = kind_of(type(entry))
    found = session.get(CatalogueRow, (kind, entry.name))
    if found is None:
        session.add(CatalogueRow(kind=kind, name=entry.name, body=entry.model_dump(mode="json"), created_at=now))
        session.flush()
        return True
    # Parsed, so that a field which came later does not make the same thing another.
    known = type(entry).model_validate(found.body)
    if isinstance(known, Target) and isinstance(entry, Target) and without_clusters(known) == without_clusters(entry):
        found.body = entry.model_dump(mode="json")
    elif known != entry:
        raise NameTaken(f"{kind} {entry.name!r} is registered with another body; register this one under a new name")
    return False


def find_entry(session: Session, entry_type: type[EntryT], name: str) -> EntryT | None:
    row = session.get(CatalogueRow, (kind_of(entry_type), name))
    return None if row is None else entry_type.model_validate(row.body)


def require_entry(session: Session, entry_type: type[EntryT], name: str) -> EntryT:
    """Raises NotFound."""
    entry = find_entry(session, entry_type, name)
    if entry is None:
        raise NotFound(f"no {kind_of(entry_type)} named {name!r} is registered")
    return entry


def list_entries(session: Session, entry_type: type[EntryT], *, after: str | None, limit: int) -> list[EntryT]:
    """By name; `after` is the name the page starts after."""
    query = select(CatalogueRow).where(CatalogueRow.kind == kind_of(entry_type))
    if after is not None:
        query = query.where(CatalogueRow.name > after)
    rows = session.scalars(query.order_by(CatalogueRow.name).limit(limit))
    return [entry_type.model_validate(row.body) for row in rows]


class RegisteredNames:
    """The Lookup of experiments.resolve over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def upstream(self, name: str) -> Upstream | None:
        return find_entry(self._session, Upstream, name)

    def encoder(self, name: str) -> Encoder | None:
        return find_entry(self._session, Encoder, name)

    def generator(self, name: str) -> Generator | None:
        return find_entry(self._session, Generator, name)

    def target(self, name: str) -> Target | None:
        return find_entry(self._session, Target, name)

    def dataset(self, name: str) -> Dataset | None:
        return find_entry(self._session, Dataset, name)
