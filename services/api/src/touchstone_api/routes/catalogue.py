"""/v1/upstreams, /v1/targets, /v1/datasets, /v1/encoders, /v1/generators: register, list, get, and retry an ingest."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from touchstone_contracts.catalogue import Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.views import (
    DatasetPage,
    EncoderPage,
    GeneratorPage,
    TargetPage,
    TargetSummary,
    UpstreamPage,
    UpstreamView,
)
from touchstone_store.catalogue import EntryT, list_entries, register, require_entry

from touchstone_api.bootstrap import Services
from touchstone_api.cursors import cut_page, decode_cursor
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented
from touchstone_api.retries import retry_failed_steps, upstream_owner
from touchstone_api.submission import submit_upstream
from touchstone_api.views import target_summary, upstream_views

router = APIRouter(prefix="/v1")

Limit = Annotated[int, Query(ge=1, le=200)]
REGISTERED = documented(400, 409, 413, 422, 503)
"""Registering the same body again answers 200; another body under the same name 409."""
LISTED, FOUND = documented(422, 503), documented(404, 503)

_DIGEST = "0" * 64
_SOURCE = {"format": "parquet", "location": "library:data/flags-test.parquet", "digest": _DIGEST, "images": 240}
_TEMPLATES = {name: ["an icon of {name}"] for name in ("retrieval", "filter", "zero_shot", "synthesis")}
EXAMPLES: dict[str, dict[str, Any]] = {
    "upstream": {"name": "miniverse", "index_encoder": "mini-clip", "shards": [_SOURCE]},
    "target": {
        "name": "flags",
        "classes": [{"id": 0, "display_name": "flag of Canada"}, {"id": 1, "display_name": "flag of Japan"}],
        "templates": _TEMPLATES,
        "splits": {"validation": _SOURCE, "test": _SOURCE},
    },
    "dataset": {"name": "flags-by-hand", "target": "flags", "images": _SOURCE, "licence": "CC0-1.0"},
    "encoder": {"name": "mini-clip", "model": "library:models/mini-clip", "digest": _DIGEST, "trained_on": "miniverse"},
    "generator": {
        "name": "mini-diffusion",
        "model": "library:models/mini-diffusion",
        "digest": _DIGEST,
        "trained_on": "miniverse",
        "image_size": 32,
    },
}


def _example(kind: str) -> Any:
    return Body(openapi_examples={kind: {"value": EXAMPLES[kind]}})


def _registered(response: Response, created: bool, place: str) -> None:
    response.status_code = 201 if created else 200
    response.headers["Location"] = place


def _register(services: Services, entry: EntryT, response: Response, plural: str) -> EntryT:
    with services.store.write() as session:
        created = register(session, entry, datetime.now(UTC))
    _registered(response, created, f"/v1/{plural}/{entry.name}")
    return entry


def _get(services: Services, entry_type: type[EntryT], name: str) -> EntryT:
    with services.store.read() as session:
        return require_entry(session, entry_type, name)


def _page(
    services: Services, entry_type: type[EntryT], cursor: str | None, limit: int
) -> tuple[tuple[EntryT, ...], str | None]:
    with services.store.read() as session:
        found = list_entries(session, entry_type, after=decode_cursor(cursor), limit=limit + 1)
    page, following = cut_page(found, limit, lambda entry: entry.name)
    return tuple(page), following


def _upstream_view(services: Services, upstream: Upstream) -> UpstreamView:
    with services.store.read() as session:
        return upstream_views(session, [upstream])[0]


@router.post("/upstreams", status_code=201, tags=["upstreams"], responses=REGISTERED)
def register_upstream(
    upstream: Annotated[Upstream, _example("upstream")], response: Response, services: ServicesHere
) -> UpstreamView:
    """Registers and starts the ingest: its phase and progress are part of the answer and of GET."""
    _registered(response, submit_upstream(services, upstream), f"/v1/upstreams/{upstream.name}")
    return _upstream_view(services, upstream)


@router.get("/upstreams", tags=["upstreams"], responses=LISTED)
def get_upstreams(services: ServicesHere, cursor: str | None = None, limit: Limit = 50) -> UpstreamPage:
    page, following = _page(services, Upstream, cursor, limit)
    with services.store.read() as session:
        return UpstreamPage(items=tuple(upstream_views(session, page)), next_cursor=following)


@router.get("/upstreams/{name}", tags=["upstreams"], responses=FOUND)
def get_upstream(name: str, services: ServicesHere) -> UpstreamView:
    return _upstream_view(services, _get(services, Upstream, name))


@router.post("/upstreams/{name}/retry", tags=["upstreams"], responses=documented(404, 409, 503))
def retry_upstream(name: str, services: ServicesHere) -> UpstreamView:
    """Failed steps of the ingest get all their attempts again. 409 `facts_missing`: register the upstream again
    first."""
    retry_failed_steps(services, lambda session: upstream_owner(session, name))
    return get_upstream(name, services)


@router.post("/targets", status_code=201, tags=["targets"], responses=REGISTERED)
def register_target(
    target: Annotated[Target, _example("target")], response: Response, services: ServicesHere
) -> TargetSummary:
    return target_summary(_register(services, target, response, "targets"))


@router.get("/targets", tags=["targets"], responses=LISTED)
def get_targets(services: ServicesHere, cursor: str | None = None, limit: Limit = 50) -> TargetPage:
    """Without class lists: see GET /v1/targets/{name}."""
    page, following = _page(services, Target, cursor, limit)
    return TargetPage(items=tuple(target_summary(target) for target in page), next_cursor=following)


@router.get("/targets/{name}", tags=["targets"], responses=FOUND)
def get_target(name: str, services: ServicesHere) -> Target:
    return _get(services, Target, name)


@router.post("/datasets", status_code=201, tags=["datasets"], responses=REGISTERED)
def register_dataset(
    dataset: Annotated[Dataset, _example("dataset")], response: Response, services: ServicesHere
) -> Dataset:
    """Labelled images for arms of kind `given`."""
    return _register(services, dataset, response, "datasets")


@router.get("/datasets", tags=["datasets"], responses=LISTED)
def get_datasets(services: ServicesHere, cursor: str | None = None, limit: Limit = 50) -> DatasetPage:
    page, following = _page(services, Dataset, cursor, limit)
    return DatasetPage(items=page, next_cursor=following)


@router.get("/datasets/{name}", tags=["datasets"], responses=FOUND)
def get_dataset(name: str, services: ServicesHere) -> Dataset:
    return _get(services, Dataset, name)


@router.post("/encoders", status_code=201, tags=["encoders"], responses=REGISTERED)
def register_encoder(
    encoder: Annotated[Encoder, _example("encoder")], response: Response, services: ServicesHere
) -> Encoder:
    return _register(services, encoder, response, "encoders")


@router.get("/encoders", tags=["encoders"], responses=LISTED)
def get_encoders(services: ServicesHere, cursor: str | None = None, limit: Limit = 50) -> EncoderPage:
    page, following = _page(services, Encoder, cursor, limit)
    return EncoderPage(items=page, next_cursor=following)


@router.get("/encoders/{name}", tags=["encoders"], responses=FOUND)
def get_encoder(name: str, services: ServicesHere) -> Encoder:
    return _get(services, Encoder, name)


@router.post("/generators", status_code=201, tags=["generators"], responses=REGISTERED)
def register_generator(
    generator: Annotated[Generator, _example("generator")], response: Response, services: ServicesHere
) -> Generator:
    return _register(services, generator, response, "generators")


@router.get("/generators", tags=["generators"], responses=LISTED)
def get_generators(services: ServicesHere, cursor: str | None = None, limit: Limit = 50) -> GeneratorPage:
    page, following = _page(services, Generator, cursor, limit)
    return GeneratorPage(items=page, next_cursor=following)


@router.get("/generators/{name}", tags=["generators"], responses=FOUND)
def get_generator(name: str, services: ServicesHere) -> Generator:
    return _get(services, Generator, name)
