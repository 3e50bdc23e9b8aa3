"""The HTTP gateway: `uvicorn --factory touchstone_api.main:create_app`. Importing it does nothing."""

from importlib import import_module
from importlib.util import find_spec

from fastapi import APIRouter, FastAPI

from touchstone_api.bootstrap import Services, build_services
from touchstone_api.problems import add_problem_handlers
from touchstone_api.security.gate import BodyLimit, RequestId
from touchstone_api.settings import ApiSettings

ROUTES = ("experiments", "events", "results", "arms", "catalogue", "health", "dashboard")


def create_app(services: Services | None = None) -> FastAPI:
    """Without `services` they are built from the environment."""
    services = services or build_services(ApiSettings())
    app = FastAPI(title="Touchstone", version="0.1.0")
    app.state.services = services
    add_problem_handlers(app)
    for name in ROUTES:
        if find_spec(f"touchstone_api.routes.{name}"):
            router: APIRouter = import_module(f"touchstone_api.routes.{name}").router
            app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=services.settings.max_body_bytes)
    app.add_middleware(RequestId)
    return app
