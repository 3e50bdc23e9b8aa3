"""/, /new, /experiments/{experiment}, /webhooks and /docs: the pages."""

import json
from collections.abc import Collection
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from touchstone_contracts.access import allows
from touchstone_contracts.catalogue import Entry
from touchstone_contracts.layout import PlanLayout
from touchstone_contracts.problems import Failure, NotFound, Problem
from touchstone_contracts.values import StepId
from touchstone_contracts.views import ExperimentDetail, Phase, Prices, StepState, Verdict
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.finished import FinishedSteps
from touchstone_store.catalogue import kind_of, names_of
from touchstone_store.database import Store
from touchstone_store.experiments import Experiment, require_experiment
from touchstone_store.keys import Principal
from touchstone_store.layouts import downloads_of
from touchstone_store.listing import facets_to_choose, list_experiments
from touchstone_store.plan_steps import list_steps
from touchstone_store.projects import limits_of
from touchstone_store.stored_bytes import bytes_seen_by
from touchstone_store.webhooks import list_deliveries, list_webhooks
from touchstone_verdict.costs import priced

from touchstone_api.access.authorise import PageReader, may_change, may_see_entry, require_experiment_access
from touchstone_api.cursors import PositionHere
from touchstone_api.dashboard.accuracy_chart import charts_of_arms
from touchstone_api.dashboard.class_groups import groups_of_targets
from touchstone_api.dashboard.configuration import named_entries
from touchstone_api.dashboard.copies import copies_of
from touchstone_api.dashboard.facts import (
    KIND_WORDS,
    accuracy_tables,
    class_tables,
    largest_class_differences,
    progress_by_kind,
)
from touchstone_api.dashboard.form import spec_form, with_registered_names
from touchstone_api.dashboard.intervals import draw_interval
from touchstone_api.dashboard.looked_into import looked_into
from touchstone_api.dashboard.pools import CuratedPool, curated_pool, most_rotten
from touchstone_api.dashboard.registered import KINDS
from touchstone_api.dashboard.rendering import DOCS_POLICY, html_page, problem_page
from touchstone_api.dashboard.spec_differences import spec_differences
from touchstone_api.dependencies import ServicesHere
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.links import Downloads, link_reports
from touchstone_api.results.reader import ResultsReader
from touchstone_api.routes.charts import fits_of
from touchstone_api.routes.experiments import EXAMPLE_SPEC
from touchstone_api.search import WantedHere
from touchstone_api.views import experiment_detail, experiment_views

router = APIRouter(include_in_schema=False)

EXPERIMENTS_PER_PAGE = 30
WEBHOOKS_PER_PAGE = 20
DELIVERIES_SHOWN = 10
STEPS_OF_A_STATE = 20
"""Failed steps, and steps that are being worked on, on the page of an experiment."""
STATES_SHOWN: tuple[StepState, ...] = ("failed", "leased")
MOST_CHOICES = 500
"""Registered names of each kind that the form offers; others can be written in its text."""


@router.get("/", response_class=HTMLResponse)
def show_experiments(
    request: Request, principal: PageReader, services: ServicesHere, position: PositionHere, wanted: WantedHere
) -> HTMLResponse:
    with services.store.read() as session:
        found = list_experiments(
            session, principal.project, after=position.after, limit=EXPERIMENTS_PER_PAGE + 1, wanted=wanted
        )
        choices = facets_to_choose(session, principal.project)
        shown, following = position.cut(found, EXPERIMENTS_PER_PAGE, lambda experiment: experiment.id)
        views, held = experiment_views(session, shown), bytes_seen_by(session, principal.project)
        quota = limits_of(session, principal.project).bytes_stored or services.settings.quota_bytes
    asked = {name: value for name, value in request.query_params.items() if value and name != "cursor"}
    facts: dict[str, Any] = {
        "experiments": views,
        "following": following and f"/?{urlencode(asked | {'cursor': following})}",
        "held": held,
        "quota": quota,
        "choices": choices | {"phase": get_args(Phase)},
        "asked": asked,
    }
    return html_page("experiments.html", csrf=principal.csrf, **facts)


@router.get("/new", response_class=HTMLResponse)
def show_new(
    principal: PageReader, services: ServicesHere, parent: Annotated[str | None, Query()] = None
) -> HTMLResponse:
    """The form that checks, estimates and posts an experiment; of a `parent`, with its spec to begin from."""
    with services.store.read() as session:
        registered = _registered_names(session, principal.project)
        document = with_registered_names(EXAMPLE_SPEC, registered)
        if parent is not None:
            require_experiment_access(session, principal, parent)
            document = require_experiment(session, parent).readable_spec.model_dump(mode="json")
    facts: dict[str, Any] = {
        "parent": parent,
        "document": json.dumps(document, indent=2),
        "form": spec_form(registered),
    }
    return html_page("new.html", csrf=principal.csrf, **facts)


def _registered_names(session: Session, project: str) -> dict[str, tuple[str, ...]]:
    """By kind of entry, in the plural: what the project may name in a spec."""
    return {
        kind.plural: tuple(names_of(session, kind_of(entry_type), project, limit=MOST_CHOICES))
        for entry_type, kind in KINDS.items()
    }


@router.get("/experiments/{experiment}", response_class=HTMLResponse)
def show_experiment(
    experiment: str, request: Request, principal: PageReader, services: ServicesHere, reader: ResultsHere
) -> HTMLResponse:
    with services.store.read() as session:
        detail = experiment_detail(session, experiment)
        may_write = may_change(session, principal, experiment)
        steps = [
            owned
            for state in STATES_SHOWN
            for owned in list_steps(session, experiment, after=-1, limit=STEPS_OF_A_STATE, state=state)
        ]
    if detail.spec is None:
        [problem, *_] = detail.problems
        return problem_page(problem, csrf=principal.csrf)
    results, resolved, layout = (
        reader.results(experiment),
        reader.resolved(experiment),
        reader.planned(experiment).plan.layout,
    )
    with services.store.read() as session:
        parent = _parent(session, principal, detail)
        named = _named(session, principal, resolved)
    verdict, obstacle = _verdict(reader, experiment, services.settings.prices)
    done = {step.id for step in detail.step_list if step.state == "succeeded"}
    downloads = _downloads(services.store, layout) if resolved.upstream.has_links else {}
    reports = link_reports(resolved, downloads, reader.finished, done)
    facts: dict[str, Any] = {
        "experiment": detail,
        "may_write": may_write,
        "steps": steps,
        "steps_address": f"/v1/experiments/{experiment}/steps",
        "may_retry": may_write and detail.phase != "cancelled",
        "kind_words": KIND_WORDS,
        "named": named,
        "copies": copies_of(detail.spec, str(request.base_url).rstrip("/")),
        "parent": parent,
        "differences": spec_differences([parent.readable_spec, detail.spec]) if parent else [],
        "account": reader.account(experiment),
        "kinds": progress_by_kind(detail.step_list),
        "results": results,
        "tables": (tables := accuracy_tables(detail.spec, resolved.targets, results)),
        "charts": charts_of_arms(tables, fits_of(reader, experiment)),
        "verdict": verdict,
        "obstacle": obstacle,
        "drawing": draw_interval(verdict) if verdict else None,
        "classes": largest_class_differences(verdict, resolved.targets) if verdict else [],
        "class_groups": groups_of_targets(verdict) if verdict else [],
        "measured": class_tables(detail.spec, results),
        "test_sets": layout.test_sets,
        "pools": _pools(resolved, layout, reader.finished, done),
        **looked_into(reader, experiment, {cell: step for cell, step in layout.curations.items() if step in done}),
        "labels": reader.label_cards(experiment),
        "upstream_searched": any(planner_of(arm).needs(arm).upstream for arm in detail.spec.arms),
        "links": [(report, most_rotten(report)) for report in reports],
    }
    return html_page("experiment.html", csrf=principal.csrf, **facts)


def _parent(session: Session, principal: Principal, detail: ExperimentDetail) -> Experiment | None:
    """What it was cloned from, if that is still there, can be read and is the reader's to see."""
    declared = detail.registration and detail.registration.parent
    if not declared:
        return None
    try:
        require_experiment_access(session, principal, declared.experiment)
        parent = require_experiment(session, declared.experiment)
    except NotFound:
        return None
    return parent if parent.spec is not None else None


def _named(
    session: Session, principal: Principal, resolved: ResolvedExperiment
) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """(heading, (name, address)) of what the spec names; None where the reader may not see its page."""
    return [
        (heading, [(name, _address(session, principal, entry_type, name)) for name in names])
        for heading, entry_type, names in named_entries(resolved)
    ]


def _address(session: Session, principal: Principal, entry_type: type[Entry], name: str) -> str | None:
    return f"/{KINDS[entry_type].plural}/{name}" if may_see_entry(session, principal, entry_type, name) else None


def _downloads(store: Store, layout: PlanLayout) -> dict[tuple[str, str], Downloads]:
    with store.read() as session:
        return {cell: downloads_of(session, curation) for cell, curation in layout.curations.items()}


def _verdict(reader: ResultsReader, experiment: str, prices: Prices) -> tuple[Verdict | None, Problem | None]:
    try:
        return priced(reader.verdict(experiment), prices), None
    except Failure as failure:
        return None, failure.problem()


def _pools(
    resolved: ResolvedExperiment, layout: PlanLayout, finished: FinishedSteps, done: Collection[StepId]
) -> list[CuratedPool]:
    """Those that are curated; pools of before there were reports are left out."""
    reports = (
        (target, arm, finished.curated(step).report)
        for (target, arm), step in sorted(layout.curations.items())
        if step in done
    )
    return [
        curated_pool(target, arm, report, resolved.classes_of(target))
        for target, arm, report in reports
        if report is not None
    ]


@router.get("/webhooks", response_class=HTMLResponse)
def show_webhooks(principal: PageReader, services: ServicesHere, position: PositionHere) -> HTMLResponse:
    """With their last messages; buttons for those who may use them."""
    with services.store.read() as session:
        found = list_webhooks(session, principal.project, after=position.after, limit=WEBHOOKS_PER_PAGE + 1)
        shown, following = position.cut(found, WEBHOOKS_PER_PAGE, lambda webhook: webhook.id)
        webhooks = [
            (each, list_deliveries(session, principal.project, each.id, before=None, limit=DELIVERIES_SHOWN))
            for each in shown
        ]
    facts: dict[str, Any] = {
        "webhooks": webhooks,
        "following": following,
        "may_change": allows(principal.scope, "admin"),
        "may_test": allows(principal.scope, "write"),
    }
    return html_page("webhooks.html", csrf=principal.csrf, **facts)


@router.get("/docs", response_class=HTMLResponse)
def show_docs(principal: PageReader) -> HTMLResponse:
    return html_page("docs.html", policy=DOCS_POLICY, csrf=principal.csrf)
