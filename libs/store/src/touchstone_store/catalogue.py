"""The registered catalogue in SQL: what names in a spec stand for. Names are given once and never changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from sqlalchemy import Text, cast, exists, select
from sqlalchemy.orm import Session, aliased
from touchstone_contracts.catalogue import (
    Dataset,
    Encoder,
    Entry,
    Generator,
    Target,
    Upstream,
    without_clusters,
    without_lineage,
)
from touchstone_contracts.problems import NotFound, Unfair
from touchstone_contracts.suggestions import MOST_NAMES, suggestion

from touchstone_store.projects import readable
from touchstone_store.tables import CatalogueRow

EntryT = TypeVar("EntryT", Upstream, Target, Encoder, Generator, Dataset)
AnyEntryT = TypeVar("AnyEntryT", bound=Entry)


class NameTaken(Unfair):
    """Finished experiments refer to names, so a name keeps its first meaning."""

    code = "name_taken"
    title = "Name taken"


def kind_of(entry_type: type[Entry]) -> str:
    return entry_type.__name__.lower()


@dataclass(frozen=True)
class Registered(Generic[AnyEntryT]):
    """An entry, and whose it is."""

    entry: AnyEntryT
    project: str
    shared: bool


def register(session: Session, entry: Entry, project: str, now: datetime) -> bool:
    """Whether it is new. A target may say later which of its test images belong together, a data set where its images
    come from: experiments keep what they were posted with. Raises NameTaken when the name stands for another body in
    the project, or for one that another project shares."""
    kind = kind_of(type(entry))
    found = _row(session, kind, entry.name, project)
    if found is None:
        body = entry.model_dump(mode="json")
        session.add(CatalogueRow(kind=kind, project_id=project, name=entry.name, body=body, created_at=now))
        session.flush()
        return True
    # Parsed, so that a field which came later does not make the same thing another.
    known, is_own = type(entry).model_validate(found.body), found.project_id == project
    if known == entry:
        return False
    if is_own and _unchangeable(known) == _unchangeable(entry):
        found.body = entry.model_dump(mode="json")
    else:
        whose = "" if is_own else " by a project that shares it"
        raise NameTaken(
            f"{kind} {entry.name!r} is registered with another body{whose}; register this one under a new name"
        )
    return False


def _unchangeable(entry: Entry) -> Entry:
    """What its name stands for, without what may be said later."""
    if isinstance(entry, Target):
        return without_clusters(entry)
    return without_lineage(entry) if isinstance(entry, Dataset) else entry


def _row(session: Session, kind: str, name: str, project: str) -> CatalogueRow | None:
    """The project's own, else the one that another shares."""
    query = select(CatalogueRow).where(
        CatalogueRow.kind == kind, CatalogueRow.name == name, readable(CatalogueRow, project)
    )
    rows = list(session.scalars(query))
    return next((row for row in rows if row.project_id == project), rows[0] if rows else None)


def _require_row(session: Session, kind: str, name: str, project: str) -> CatalogueRow:
    """Raises NotFound."""
    row = _row(session, kind, name, project)
    if row is None:
        meant = suggestion(name, names_of(session, kind, project))
        raise NotFound(f"no {kind} named {name!r} is registered; {meant}")
    return row


def names_of(session: Session, kind: str, project: str, *, limit: int = MOST_NAMES) -> list[str]:
    """The first names of what the project may read of a kind: its own and what others share with it. Nothing of what
    they stand for is read."""
    query = select(CatalogueRow.name).where(CatalogueRow.kind == kind, readable(CatalogueRow, project)).distinct()
    return list(session.scalars(query.order_by(CatalogueRow.name).limit(limit)))


def find_entry(session: Session, entry_type: type[EntryT], name: str, project: str) -> EntryT | None:
    row = _row(session, kind_of(entry_type), name, project)
    return None if row is None else entry_type.model_validate(row.body)


def require_registered(session: Session, entry_type: type[EntryT], name: str, project: str) -> Registered[EntryT]:
    """Raises NotFound."""
    row = _require_row(session, kind_of(entry_type), name, project)
    return Registered(entry_type.model_validate(row.body), row.project_id, row.shared)


def owner_of(session: Session, entry_type: type[Entry], name: str, project: str) -> str:
    """The project whose entry the name stands for, where `project` may read it. Raises NotFound."""
    return _require_row(session, kind_of(entry_type), name, project).project_id


def require_entry(session: Session, entry_type: type[EntryT], name: str, project: str) -> EntryT:
    """Raises NotFound."""
    return require_registered(session, entry_type, name, project).entry


def share_entry(session: Session, entry_type: type[Entry], name: str, project: str, shared: bool) -> None:
    """Raises NotFound, or NameTaken where another project shares a thing of that name."""
    kind = kind_of(entry_type)
    row = session.get(CatalogueRow, (kind, project, name))
    if row is None:
        raise NotFound(f"this project has no {kind} named {name!r}")
    others = select(CatalogueRow.name).where(
        CatalogueRow.kind == kind, CatalogueRow.name == name, CatalogueRow.shared, CatalogueRow.project_id != project
    )
    if shared and session.scalar(others) is not None:
        raise NameTaken(f"another project shares a {kind} named {name!r} already")
    row.shared = shared


def list_entries(
    session: Session, entry_type: type[EntryT], project: str, *, after: str | None, limit: int
) -> list[Registered[EntryT]]:
    """By name; `after` is the name the page starts after. The project's own hides one of the same name that another
    shares."""
    kind, own = kind_of(entry_type), aliased(CatalogueRow)
    hidden = exists().where(
        own.kind == kind, own.name == CatalogueRow.name, own.project_id == project, CatalogueRow.project_id != project
    )
    query = select(CatalogueRow).where(CatalogueRow.kind == kind, readable(CatalogueRow, project), ~hidden)
    if after is not None:
        query = query.where(CatalogueRow.name > after)
    rows = session.scalars(query.order_by(CatalogueRow.name).limit(limit))
    return [Registered(entry_type.model_validate(row.body), row.project_id, row.shared) for row in rows]


def names_with(session: Session, text: str, project: str) -> list[str]:
    """`kind name` of the project's entries whose body holds the text, which is plain ASCII."""
    query = select(CatalogueRow.kind, CatalogueRow.name).where(
        CatalogueRow.project_id == project, cast(CatalogueRow.body, Text).contains(text, autoescape=True)
    )
    return [
        f"{kind} {name}" for kind, name in session.execute(query.order_by(CatalogueRow.kind, CatalogueRow.name)).all()
    ]


class RegisteredNames:
    """The Lookup of experiments.resolve over one session, for one project."""

    def __init__(self, session: Session, project: str) -> None:
        self._session = session
        self._project = project
        self._owners: dict[tuple[type[Entry], str], str] = {}

    def owner(self, entry: Entry) -> str:
        """The project of an entry that was found here."""
        return self._owners[type(entry), entry.name]

    def _find(self, entry_type: type[EntryT], name: str) -> EntryT | None:
        row = _row(self._session, kind_of(entry_type), name, self._project)
        if row is None:
            return None
        self._owners[entry_type, name] = row.project_id
        return entry_type.model_validate(row.body)

    def upstream(self, name: str) -> Upstream | None:
        return self._find(Upstream, name)

    def encoder(self, name: str) -> Encoder | None:
        return self._find(Encoder, name)

    def generator(self, name: str) -> Generator | None:
        return self._find(Generator, name)

    def target(self, name: str) -> Target | None:
        return self._find(Target, name)

    def dataset(self, name: str) -> Dataset | None:
        return self._find(Dataset, name)

    def names(self, kind: str) -> list[str]:
        return names_of(self._session, kind, self._project)
