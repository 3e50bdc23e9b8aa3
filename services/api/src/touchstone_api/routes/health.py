"""/healthz without dependencies, /readyz with them, /metrics for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from touchstone_contracts.problems import FieldError, Transient
from touchstone_runtime.logs import get_logger
from touchstone_store.outages import WrongSchema

from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented

log = get_logger(__name__)
router, scrapes = APIRouter(tags=["health"]), APIRouter()


class NotReady(Transient):
    """A server the api depends on does not answer, or the database is not migrated; `errors` names each."""

    code = "not_ready"
    title = "Not ready"


@router.get("/healthz")
def get_health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses=documented(503))
def get_readiness(services: ServicesHere) -> dict[str, str]:
    """`ok` for each of database and object_store; 503 names those that do not answer, and a database whose schema is
    not the one of this version. What the conductor and the workers need is not asked here."""
    errors = []
    for name, check in services.checks.items():
        try:
            check()
        except Transient as error:
            log.warning("dependency.unusable", dependency=name, error=str(error))
            # Other texts speak of addresses.
            reason = error.detail if isinstance(error, WrongSchema) else "does not answer"
            errors.append(FieldError(pointer=f"/{name}", detail=f"{name} {reason}"))
    if errors:
        raise NotReady("not everything the api depends on is ready", errors=tuple(errors))
    return dict.fromkeys(services.checks, "ok")


@scrapes.get("/metrics", include_in_schema=False)
def get_metrics(request: Request) -> Response:
    """For whoever has a key. Prometheus asks at TOUCHSTONE_METRICS_PORT, where nobody else gets."""
    return Response(generate_latest(request.app.state.telemetry.registry), media_type=CONTENT_TYPE_LATEST)
