"""Builds what the api's routes work with. No other module reads settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from touchstone_contracts.problems import Transient
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.logs import configure_logs, get_logger
from touchstone_runtime.objects import S3Objects, connect_objects
from touchstone_runtime.tracing import NO_TRACES, Traces, connect_traces
from touchstone_store.database import Store, open_store
from touchstone_store.migrate import migrate, require_current

from touchstone_api.settings import ApiSettings

log = get_logger(__name__)

Check = Callable[[], object]
"""Raises Transient when its dependency is not usable."""


@dataclass(frozen=True)
class Services:
    """What every route may use; see dependencies.py."""

    store: Store
    artifacts: Artifacts
    settings: ApiSettings
    checks: Mapping[str, Check] = field(default_factory=dict)
    """Readiness by dependency name."""
    traces: Traces = NO_TRACES


def build_services(settings: ApiSettings) -> Services:
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    store = open_store(settings.database_url.get_secret_value(), ca_file=settings.ca_file)
    if settings.migrate_on_start:
        migrate(store)
    objects = connect_objects(settings)
    try:
        objects.create_bucket()
    except Transient as error:
        # The api starts without the object store; /readyz tells, and tries again.
        log.warning("object_store.unreachable", error=str(error))
    return Services(
        store=store,
        artifacts=Artifacts(objects),
        settings=settings,
        checks=readiness_checks(store, objects),
        traces=connect_traces("api", settings),
    )


def readiness_checks(store: Store, objects: S3Objects) -> dict[str, Check]:
    """What /readyz asks: what the api itself needs. Redis is the conductor's and the workers'."""
    return {"database": lambda: require_current(store), "object_store": objects.create_bucket}
