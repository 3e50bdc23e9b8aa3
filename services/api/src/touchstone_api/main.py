"""The HTTP gateway: `uvicorn --factory touchstone_api.main:create_app`. Importing it does nothing."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import BaseRoute
from touchstone_runtime.metrics import start_metrics_server
from touchstone_runtime.tracing import Traces

from touchstone_api.access.authorise import Identify, NoteAnswers, authorise, authorise_page
from touchstone_api.access.rates import Rates
from touchstone_api.access.single_sign_on import STATE_COOKIE, STATE_PATH, STATE_SECONDS, Provider, state_secret
from touchstone_api.bootstrap import Services, build_services
from touchstone_api.busy import Slots
from touchstone_api.conditional import ConditionalGet
from touchstone_api.event_hub import EventHub
from touchstone_api.openapi import describe
from touchstone_api.problems import add_problem_handlers
from touchstone_api.routes import (
    arms,
    assets,
    catalogue,
    charts,
    compare,
    dashboard,
    descriptions,
    events,
    experiments,
    health,
    image_bytes,
    image_pages,
    keys,
    login,
    problems,
    registered,
    results,
    search_pages,
    searches,
    step_pages,
    steps,
    storage,
    takedowns,
    uploads,
    webhooks,
)
from touchstone_api.security.bodies import JsonBudget, LimitBodies
from touchstone_api.security.gate import OwnRequests, RequestId
from touchstone_api.security.queries import refuse_unknown_parameters
from touchstone_api.security.text import refuse_unstorable_address, refuse_unstorable_body
from touchstone_api.settings import ApiSettings
from touchstone_api.telemetry import CountRequests, Telemetry
from touchstone_api.upstream_search import Waiting

RESOURCES = (
    experiments,
    steps,
    events,
    results,
    arms,
    image_bytes,
    catalogue,
    searches,
    descriptions,
    takedowns,
    webhooks,
    storage,
    keys,
)
PAGES = (dashboard, charts, compare, registered, image_pages, step_pages, search_pages)
OPEN_TO_ALL = (health, login, assets, problems)
"""What is the same for everybody, or says who somebody is."""


OF_RESOURCES = [Depends(authorise), Depends(refuse_unknown_parameters), Depends(refuse_unstorable_body)]


def create_app(services: Services | None = None) -> FastAPI:
    """Without `services` they are built from the environment."""
    services = services or build_services(ApiSettings())
    app = FastAPI(
        title="Touchstone",
        version="0.3.0",
        description="Do generated training images beat simply retrieving real ones?",
        routes=_routes(),
        lifespan=_close_services,
        telemetry=_request_spans(services.traces),
        # Its own pages load their scripts from elsewhere; ours is in routes/dashboard.py.
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    app.state.telemetry = Telemetry(services.store)
    app.state.planning = Slots(services.settings.plans_at_once)
    app.state.events = EventHub(
        services.store, services.settings.event_poll_seconds, services.settings.most_event_streams
    )
    app.state.searches = Waiting(services.settings.search_patience_seconds)
    add_problem_handlers(app)
    app.state.rates = Rates()
    app.state.provider = Provider(services.settings) if services.settings.oidc_issuer else None
    describe(app)
    # The last added is the outermost: even a refused body is counted and carries a request id.
    app.add_middleware(NoteAnswers)
    app.add_middleware(ConditionalGet)
    app.add_middleware(LimitBodies, max_bytes=services.settings.max_body_bytes, budget=JsonBudget())
    if services.settings.oidc_issuer:
        _remember_sign_ons(app, services.settings)
    app.add_middleware(Identify)
    app.add_middleware(OwnRequests, hosts=services.settings.trusted_hosts)
    app.add_middleware(CountRequests, telemetry=app.state.telemetry)
    app.add_middleware(RequestId)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """The same for every app of a process: FastAPI works out what each of them takes and answers when it is first asked
    for it, which is most of what an app costs."""
    # Before `authorise`, which looks up and writes down what the path names.
    routes = APIRouter(generate_unique_id_function=_operation_id, dependencies=[Depends(refuse_unstorable_address)])
    for resource in RESOURCES:
        routes.include_router(resource.router, dependencies=OF_RESOURCES)
    # Its bodies are streamed: nobody looks for text in them.
    routes.include_router(uploads.router, dependencies=[Depends(authorise), Depends(refuse_unknown_parameters)])
    for resource in PAGES:
        routes.include_router(resource.router, dependencies=[Depends(authorise_page)])
    routes.include_router(health.scrapes, dependencies=[Depends(authorise)])
    for resource in OPEN_TO_ALL:
        routes.include_router(resource.router)
    return routes.routes


def _remember_sign_ons(app: FastAPI, settings: ApiSettings) -> None:
    """In the browser, for as long as somebody is at the provider. Its page sends them back, which no strict cookie
    survives; the provider of a real installation is reached over TLS, and so is the installation."""
    app.add_middleware(
        SessionMiddleware,
        secret_key=state_secret(settings),
        session_cookie=STATE_COOKIE,
        max_age=STATE_SECONDS,
        path=STATE_PATH,
        same_site="lax",
        https_only=str(settings.oidc_issuer).startswith("https:"),
    )


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _close_services(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.services.settings
    metrics = None
    if settings.metrics_port:
        metrics = start_metrics_server(app.state.telemetry.registry, settings.metrics_host, settings.metrics_port)
    yield
    if metrics is not None:
        metrics.shutdown()
    app.state.services.store.close()
    app.state.services.traces.close()


def _request_spans(traces: Traces) -> TelemetryConfig:
    """FastAPI's own span per request, continuing the caller's trace. Metrics and logs are ours."""
    return {
        "tracer_provider": traces.provider,
        "tracing": traces.provider is not None,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": _is_probe,
    }


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    return scope["path"] in {"/healthz", "/readyz", "/metrics"}
