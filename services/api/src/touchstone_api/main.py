"""The HTTP gateway: `uvicorn --factory touchstone_api.main:create_app`. Importing it does nothing."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from touchstone_runtime.tracing import Traces

from touchstone_api.bootstrap import Services, build_services
from touchstone_api.openapi import describe
from touchstone_api.problems import add_problem_handlers
from touchstone_api.routes import arms, assets, catalogue, dashboard, events, experiments, health, results, steps
from touchstone_api.security.gate import BodyLimit, RequestId
from touchstone_api.settings import ApiSettings
from touchstone_api.telemetry import CountRequests, Telemetry

RESOURCES = (experiments, steps, events, results, arms, catalogue, health, dashboard, assets)


def create_app(services: Services | None = None) -> FastAPI:
    """Without `services` they are built from the environment."""
    services = services or build_services(ApiSettings())
    app = FastAPI(
        title="Touchstone",
        version="0.1.0",
        description="Do generated training images beat simply retrieving real ones?",
        generate_unique_id_function=_operation_id,
        lifespan=_close_services,
        telemetry=_request_spans(services.traces),
        # Its own pages load their scripts from elsewhere; ours is in routes/dashboard.py.
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    app.state.telemetry = Telemetry(services.store)
    add_problem_handlers(app)
    for resource in RESOURCES:
        app.include_router(resource.router)
    describe(app)
    # The last added is the outermost: even a refused body is counted and carries a request id.
    app.add_middleware(BodyLimit, max_bytes=services.settings.max_body_bytes)
    app.add_middleware(CountRequests, telemetry=app.state.telemetry)
    app.add_middleware(RequestId)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _close_services(app: FastAPI) -> AsyncIterator[None]:
    yield
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
