"""/registered, and the pages of upstreams, targets, encoders, generators and data sets."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from touchstone_contracts.access import allows
from touchstone_contracts.catalogue import Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.views import DescriptionView
from touchstone_store.catalogue import find_entry, list_entries, require_registered
from touchstone_store.descriptions import list_descriptions
from touchstone_store.keys import Principal

from touchstone_api.access.authorise import PageReader, may_see_entry
from touchstone_api.cursors import PositionHere
from touchstone_api.dashboard.registered import KINDS, facts_of, files_of, listed
from touchstone_api.dashboard.rendering import html_page
from touchstone_api.dependencies import ServicesHere
from touchstone_api.descriptions import description_view
from touchstone_api.results.accounts import source_accounts, sources_of
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.routes.search_pages import SEARCHED
from touchstone_api.views import upstream_views

router = APIRouter(include_in_schema=False)

SHOWN_OF_EACH_KIND = 10
"""On the overview."""
ENTRIES_PER_PAGE = 50
MOST_DESCRIPTIONS = 1000
MOST_MODELS = 1000
"""Looked through for those that were trained on an upstream."""
MOST_FILES = 50
MOST_CLASSES = 1000


@router.get("/registered", response_class=HTMLResponse)
def show_registered(principal: PageReader, services: ServicesHere) -> HTMLResponse:
    """The first entries of each kind, and the locations that are being looked at."""
    with services.store.read() as session:
        kinds = [
            (kind, [listed(each.entry) for each in _entries(session, principal, entry_type, None, SHOWN_OF_EACH_KIND)])
            for entry_type, kind in KINDS.items()
        ]
        descriptions = _unfinished(session, principal.project)
    return html_page("registered.html", csrf=principal.csrf, kinds=kinds, descriptions=descriptions)


def _unfinished(session: Session, project: str) -> list[DescriptionView]:
    """Of what was asked for by its location: what is not registered yet, or could not be."""
    found = list_descriptions(session, project, after=None, limit=MOST_DESCRIPTIONS)
    return [description_view(session, each) for each in found if not each.registered]


def _entries(session: Session, principal: Principal, entry_type: Any, after: str | None, limit: int) -> Any:
    return list_entries(session, entry_type, principal.project, after=after, limit=limit)


@router.get("/upstreams", response_class=HTMLResponse)
def show_upstreams(principal: PageReader, services: ServicesHere, position: PositionHere) -> HTMLResponse:
    return _list(principal, services, position, Upstream)


@router.get("/targets", response_class=HTMLResponse)
def show_targets(principal: PageReader, services: ServicesHere, position: PositionHere) -> HTMLResponse:
    return _list(principal, services, position, Target)


@router.get("/encoders", response_class=HTMLResponse)
def show_encoders(principal: PageReader, services: ServicesHere, position: PositionHere) -> HTMLResponse:
    return _list(principal, services, position, Encoder)


@router.get("/generators", response_class=HTMLResponse)
def show_generators(principal: PageReader, services: ServicesHere, position: PositionHere) -> HTMLResponse:
    return _list(principal, services, position, Generator)


@router.get("/datasets", response_class=HTMLResponse)
def show_datasets(principal: PageReader, services: ServicesHere, position: PositionHere) -> HTMLResponse:
    return _list(principal, services, position, Dataset)


def _list(principal: PageReader, services: ServicesHere, position: PositionHere, entry_type: Any) -> HTMLResponse:
    with services.store.read() as session:
        found = _entries(session, principal, entry_type, position.after, ENTRIES_PER_PAGE + 1)
    shown, following = position.cut(found, ENTRIES_PER_PAGE, lambda each: each.entry.name)
    facts: dict[str, Any] = {
        "kind": KINDS[entry_type],
        "entries": [listed(each.entry) for each in shown],
        "following": following,
    }
    return html_page("entries.html", csrf=principal.csrf, **facts)


@router.get("/upstreams/{name}", response_class=HTMLResponse)
def show_upstream(name: str, principal: PageReader, services: ServicesHere, reader: ResultsHere) -> HTMLResponse:
    with services.store.read() as session:
        found = require_registered(session, Upstream, name, principal.project)
        [view] = upstream_views(session, [found])
        models = _trained_on(session, principal, name)
        links = _links(session, principal, [(Encoder, found.entry.index_encoder)])
    accounts = source_accounts(reader.store, reader.finished, sources_of(found.entry))
    searched = SEARCHED if allows(principal.scope, "write") else {}
    return _entry(principal, found.entry, accounts=accounts, links=links, view=view, models=models, searched=searched)


@router.get("/targets/{name}", response_class=HTMLResponse)
def show_target(name: str, principal: PageReader, services: ServicesHere, reader: ResultsHere) -> HTMLResponse:
    with services.store.read() as session:
        entry = require_registered(session, Target, name, principal.project).entry
    accounts = source_accounts(reader.store, reader.finished, sources_of(entry))
    return _entry(principal, entry, accounts=accounts, classes=entry.classes[:MOST_CLASSES])


@router.get("/datasets/{name}", response_class=HTMLResponse)
def show_dataset(name: str, principal: PageReader, services: ServicesHere, reader: ResultsHere) -> HTMLResponse:
    with services.store.read() as session:
        entry = require_registered(session, Dataset, name, principal.project).entry
        links = _links(session, principal, [(Target, entry.target), (Upstream, entry.trained_on)])
        target = find_entry(session, Target, entry.target, principal.project)
    accounts = source_accounts(reader.store, reader.finished, sources_of(entry, target))
    return _entry(principal, entry, accounts=accounts, links=links)


@router.get("/encoders/{name}", response_class=HTMLResponse)
def show_encoder(name: str, principal: PageReader, services: ServicesHere) -> HTMLResponse:
    with services.store.read() as session:
        entry = require_registered(session, Encoder, name, principal.project).entry
        links = _links(session, principal, [(Upstream, entry.trained_on)])
    return _entry(principal, entry, links=links)


@router.get("/generators/{name}", response_class=HTMLResponse)
def show_generator(name: str, principal: PageReader, services: ServicesHere) -> HTMLResponse:
    with services.store.read() as session:
        entry = require_registered(session, Generator, name, principal.project).entry
        links = _links(session, principal, [(Upstream, entry.trained_on)])
    return _entry(principal, entry, links=links)


def _entry(principal: PageReader, entry: Any, **facts: Any) -> HTMLResponse:
    """`links`: name -> address of what the entry names and its reader may see; `searched`: the ways in which it may be
    searched."""
    kind = KINDS[type(entry)]
    files, all_files = files_of(entry, MOST_FILES)
    shown: dict[str, Any] = {
        "kind": kind,
        "entry": entry,
        "told": list(zip(kind.columns, facts_of(entry), strict=True)),
        "files": files,
        "all_files": all_files,
        "accounts": (),
        "links": {},
        "view": None,
        "models": (),
        "classes": (),
        "searched": {},
    }
    return html_page("entry.html", csrf=principal.csrf, **shown | facts)


def _trained_on(session: Session, principal: Principal, upstream: str) -> list[tuple[str, str]]:
    """(name, address) of the models whose weights were trained on the upstream."""
    return [
        (each.entry.name, f"/{KINDS[entry_type].plural}/{each.entry.name}")
        for entry_type in (Encoder, Generator)
        for each in _entries(session, principal, entry_type, None, MOST_MODELS)
        if each.entry.trained_on == upstream
    ]


def _links(session: Session, principal: Principal, named: Any) -> dict[str, str]:
    return {
        name: f"/{KINDS[entry_type].plural}/{name}"
        for entry_type, name in named
        if name and may_see_entry(session, principal, entry_type, name)
    }
