"""/v1/upstreams, /v1/targets, /v1/datasets, /v1/encoders, /v1/generators: register, list, get, and retry an ingest."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import BaseModel, Discriminator, Tag
from touchstone_contracts.catalogue import Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.locations import Located, LocatedDataset, LocatedTarget, LocatedUpstream
from touchstone_contracts.views import (
    DatasetPage,
    DescriptionView,
    EncoderPage,
    GeneratorPage,
    SourceAccount,
    TargetAccount,
    TargetPage,
    TargetSummary,
    UpstreamPage,
    UpstreamView,
)
from touchstone_planning.target_checks import check_entry
from touchstone_store.catalogue import EntryT, Registered, find_entry, list_entries, require_entry, require_registered
from touchstone_store.descriptions import kind_of
from touchstone_store.keys import Principal
from touchstone_store.layouts import upstream_plan_id
from touchstone_store.plans import cancel_plan

from touchstone_api.access.authorise import PrincipalHere
from touchstone_api.bootstrap import Services
from touchstone_api.busy import planning_slot
from touchstone_api.cursors import Position, PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.descriptions import submit_located, view_of
from touchstone_api.parameters import IdempotencyKey
from touchstone_api.problems import documented
from touchstone_api.results.accounts import source_accounts, sources_of
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.retries import retry_failed_steps, upstream_owner
from touchstone_api.submission import submit_entry, submit_upstream
from touchstone_api.views import target_summary, upstream_views

router = APIRouter(prefix="/v1")

Limit = Annotated[int, Query(ge=1, le=200)]
LISTED, FOUND = documented(422, 503), documented(404, 503)

_DIGEST = "0" * 64
_SOURCE = {"format": "parquet", "location": "library:data/flags-test.parquet", "digest": _DIGEST, "images": 240}
_VALIDATION = _SOURCE | {"location": "library:data/flags-validation.parquet", "digest": "1" * 64}
_BY_HAND = _SOURCE | {"location": "library:data/flags-by-hand.parquet", "digest": "2" * 64}
_TEMPLATES = {name: ["an icon of {name}"] for name in ("retrieval", "filter", "zero_shot", "synthesis")}
EXAMPLES: dict[str, dict[str, Any]] = {
    "upstream": {"name": "miniverse", "index_encoder": "mini-clip", "shards": [_SOURCE]},
    "target": {
        "name": "flags",
        "classes": [{"id": 0, "display_name": "flag of Canada"}, {"id": 1, "display_name": "flag of Japan"}],
        "templates": _TEMPLATES,
        "splits": {"validation": _VALIDATION, "test": _SOURCE},
    },
    "dataset": {
        "name": "flags-by-hand",
        "target": "flags",
        "images": _BY_HAND,
        "licence": "CC0-1.0",
        "origin": "synthetic",
        "made_by": "PixelForge 2",
    },
    "encoder": {"name": "mini-clip", "model": "library:models/mini-clip", "digest": _DIGEST, "trained_on": "miniverse"},
    "generator": {
        "name": "mini-diffusion",
        "model": "library:models/mini-diffusion",
        "digest": _DIGEST,
        "trained_on": "miniverse",
        "image_size": 32,
    },
}


LOCATED_EXAMPLES: dict[str, dict[str, Any]] = {
    "upstream": {"name": "birds", "location": "hf://datasets/owner/birds@main/*.tar", "index_encoder": "mini-clip"},
    "target": {"name": "owls", "location": "library:data/owls"},
    "dataset": {"name": "bought", "target": "flags", "location": "https://example.org/bought.tar", "origin": "real"},
}


LOCATED_SPLITS_EXAMPLE: dict[str, Any] = {
    "name": "digits",
    "splits": {
        "train": "hf://datasets/owner/digits@main/data/train-*.parquet",
        "validation": ["library:digits/held-out-0.parquet", "library:digits/held-out-1.parquet"],
        "test": "hf://datasets/owner/digits@main/data/test-*.parquet",
    },
    "columns": {"image": "img", "label": "digit"},
}


def _example(kind: str) -> Any:
    return Body(openapi_examples={kind: {"value": EXAMPLES[kind]}})


def _example_of_either(kind: str) -> Any:
    examples: Any = {"document": {"value": EXAMPLES[kind]}, "by location": {"value": LOCATED_EXAMPLES[kind]}}
    if kind == "target":
        examples["splits by location"] = {"value": LOCATED_SPLITS_EXAMPLE}
    return Body(openapi_examples=examples)


def _form(body: Any) -> str:
    """Whether a body is a document of the catalogue or names a location."""
    if isinstance(body, Located):
        return "by location"
    if not isinstance(body, dict):
        return "document"
    splits = body.get("splits")
    of_splits = isinstance(splits, dict) and any(isinstance(split, str | list) for split in splits.values())
    return "by location" if "location" in body or of_splits else "document"


_DOCUMENT, _LOCATED, _EITHER = Tag("document"), Tag("by location"), Discriminator(_form)


def _answers(view: type[BaseModel], *, located: bool = False) -> dict[int | str, dict[str, Any]]:
    """Registering the same body again answers 200; another body under the same name 409. `located`: the body may name
    a location, too."""
    accepted = "The location is being looked at; what is there will be registered"
    return {
        200: {"model": view, "description": "Registered before, with the same body"},
        **({202: {"model": DescriptionView, "description": accepted}} if located else {}),
        **documented(409),
    }


def _described(services: Services, principal: Principal, located: Located, key: str | None) -> Response:
    submit_located(services, principal.project, located, key)
    view = view_of(services, kind_of(located), principal.project, located.name)
    headers = {"Location": f"/v1/descriptions/{view.kind}/{view.name}"}
    return Response(view.model_dump_json(), 202, headers, media_type="application/json")


def _registered(response: Response, created: bool, path: str) -> None:
    response.status_code = 201 if created else 200
    response.headers["Location"] = path


def _register(
    services: Services, principal: Principal, entry: EntryT, response: Response, plural: str, key: str | None
) -> EntryT:
    _registered(response, submit_entry(services, principal.project, entry, key), f"/v1/{plural}/{entry.name}")
    return entry


def _get(services: Services, principal: Principal, entry_type: type[EntryT], name: str) -> EntryT:
    with services.store.read() as session:
        return require_entry(session, entry_type, name, principal.project)


def _page(
    services: Services, principal: Principal, entry_type: type[EntryT], position: Position, limit: int
) -> tuple[tuple[Registered[EntryT], ...], str | None]:
    with services.store.read() as session:
        found = list_entries(session, entry_type, principal.project, after=position.after, limit=limit + 1)
    page, following = position.cut(found, limit, lambda each: each.entry.name)
    return tuple(page), following


def _upstream_view(services: Services, principal: Principal, name: str) -> UpstreamView:
    with services.store.read() as session:
        return upstream_views(session, [require_registered(session, Upstream, name, principal.project)])[0]


@router.post(
    "/upstreams",
    status_code=201,
    tags=["upstreams"],
    dependencies=[Depends(planning_slot)],
    response_model=UpstreamView,
    responses=_answers(UpstreamView, located=True),
)
def register_upstream(
    upstream: Annotated[
        Annotated[Upstream, _DOCUMENT] | Annotated[LocatedUpstream, _LOCATED], _EITHER, _example_of_either("upstream")
    ],
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    idempotency_key: IdempotencyKey = None,
) -> UpstreamView | Response:
    """Registers and starts the ingest: its phase and progress are part of the answer and of GET.

    Instead of a document the body may name a `location`, or several: a worker looks what is there, writes the document
    and has it registered (202, and `GET /v1/descriptions/upstream/{name}` tells how far it is)."""
    if isinstance(upstream, LocatedUpstream):
        return _described(services, principal, upstream, idempotency_key)
    created = submit_upstream(services, principal.project, upstream, idempotency_key)
    _registered(response, created, f"/v1/upstreams/{upstream.name}")
    return _upstream_view(services, principal, upstream.name)


@router.get("/upstreams", tags=["upstreams"], responses=LISTED)
def get_upstreams(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> UpstreamPage:
    page, following = _page(services, principal, Upstream, position, limit)
    with services.store.read() as session:
        return UpstreamPage(items=tuple(upstream_views(session, page)), next_cursor=following)


@router.get("/upstreams/{name}", tags=["upstreams"], responses=FOUND)
def get_upstream(name: str, principal: PrincipalHere, services: ServicesHere, reader: ResultsHere) -> UpstreamView:
    """With the account of what was ingested so far: images seen, taken and refused, by reason and name."""
    view = _upstream_view(services, principal, name)
    [account] = source_accounts(reader.store, reader.finished, sources_of(view.upstream))
    return view.model_copy(update={"account": account})


@router.post("/upstreams/{name}/retry", tags=["upstreams"], responses=documented(404, 409, 503))
def retry_upstream(name: str, principal: PrincipalHere, services: ServicesHere) -> UpstreamView:
    """Failed steps of the ingest get all their attempts again; a cancelled one goes on. 409 `facts_missing`: register
    the upstream again first."""
    retry_failed_steps(services, lambda session: upstream_owner(session, name, principal.project))
    return _upstream_view(services, principal, name)


@router.post("/upstreams/{name}/cancel", tags=["upstreams"], responses=documented(404, 503))
def cancel_upstream(name: str, principal: PrincipalHere, services: ServicesHere) -> UpstreamView:
    """Steps of the ingest that nothing else needs stop soon, and experiments that wait for it fail. An ingest that has
    ended stays as it is; a cancelled one goes on when it is retried."""
    with services.store.write() as session:
        cancel_plan(session, upstream_plan_id(name, principal.project), datetime.now(UTC))
    return _upstream_view(services, principal, name)


@router.post(
    "/targets",
    status_code=201,
    tags=["targets"],
    response_model=TargetSummary,
    responses=_answers(TargetSummary, located=True),
)
def register_target(
    target: Annotated[
        Annotated[Target, _DOCUMENT] | Annotated[LocatedTarget, _LOCATED], _EITHER, _example_of_either("target")
    ],
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    idempotency_key: IdempotencyKey = None,
) -> TargetSummary | Response:
    """Instead of a document the body may name a `location` with all splits below it, or one of each split: a worker
    looks what is there, writes the document and has it registered (202, and `GET /v1/descriptions/target/{name}` tells
    how far it is)."""
    if isinstance(target, LocatedTarget):
        return _described(services, principal, target, idempotency_key)
    check_entry(target)
    return target_summary(_register(services, principal, target, response, "targets", idempotency_key))


@router.get("/targets", tags=["targets"], responses=LISTED)
def get_targets(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> TargetPage:
    """Without class lists: see GET /v1/targets/{name}."""
    page, following = _page(services, principal, Target, position, limit)
    return TargetPage(items=tuple(target_summary(each.entry) for each in page), next_cursor=following)


@router.get("/targets/{name}", tags=["targets"], responses=FOUND)
def get_target(name: str, principal: PrincipalHere, services: ServicesHere) -> Target:
    return _get(services, principal, Target, name)


@router.get("/targets/{name}/account", tags=["targets"], responses=FOUND)
def get_target_account(
    name: str, principal: PrincipalHere, services: ServicesHere, reader: ResultsHere
) -> TargetAccount:
    """What came in of each split: images seen, taken and refused, by reason and name. Experiments ingest the splits
    that they need."""
    target = _get(services, principal, Target, name)
    return TargetAccount(target=name, splits=source_accounts(reader.store, reader.finished, sources_of(target)))


@router.post(
    "/datasets",
    status_code=201,
    tags=["datasets"],
    response_model=Dataset,
    responses=_answers(Dataset, located=True),
)
def register_dataset(
    dataset: Annotated[
        Annotated[Dataset, _DOCUMENT] | Annotated[LocatedDataset, _LOCATED], _EITHER, _example_of_either("dataset")
    ],
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    idempotency_key: IdempotencyKey = None,
) -> Dataset | Response:
    """Labelled images for arms of kind `given`: a document, or a `location` as for targets."""
    if isinstance(dataset, LocatedDataset):
        return _described(services, principal, dataset, idempotency_key)
    check_entry(dataset)
    return _register(services, principal, dataset, response, "datasets", idempotency_key)


@router.get("/datasets", tags=["datasets"], responses=LISTED)
def get_datasets(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> DatasetPage:
    page, following = _page(services, principal, Dataset, position, limit)
    return DatasetPage(items=tuple(each.entry for each in page), next_cursor=following)


@router.get("/datasets/{name}", tags=["datasets"], responses=FOUND)
def get_dataset(name: str, principal: PrincipalHere, services: ServicesHere) -> Dataset:
    return _get(services, principal, Dataset, name)


@router.get("/datasets/{name}/account", tags=["datasets"], responses=FOUND)
def get_dataset_account(
    name: str, principal: PrincipalHere, services: ServicesHere, reader: ResultsHere
) -> SourceAccount:
    """What came in of it: images seen, taken and refused, by reason and name. Experiments ingest what they need."""
    with services.store.read() as session:
        dataset = require_entry(session, Dataset, name, principal.project)
        target = find_entry(session, Target, dataset.target, principal.project)
    [account] = source_accounts(reader.store, reader.finished, sources_of(dataset, target))
    return account


@router.post("/encoders", status_code=201, tags=["encoders"], responses=_answers(Encoder))
def register_encoder(
    encoder: Annotated[Encoder, _example("encoder")],
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    idempotency_key: IdempotencyKey = None,
) -> Encoder:
    return _register(services, principal, encoder, response, "encoders", idempotency_key)


@router.get("/encoders", tags=["encoders"], responses=LISTED)
def get_encoders(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> EncoderPage:
    page, following = _page(services, principal, Encoder, position, limit)
    return EncoderPage(items=tuple(each.entry for each in page), next_cursor=following)


@router.get("/encoders/{name}", tags=["encoders"], responses=FOUND)
def get_encoder(name: str, principal: PrincipalHere, services: ServicesHere) -> Encoder:
    return _get(services, principal, Encoder, name)


@router.post("/generators", status_code=201, tags=["generators"], responses=_answers(Generator))
def register_generator(
    generator: Annotated[Generator, _example("generator")],
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    idempotency_key: IdempotencyKey = None,
) -> Generator:
    return _register(services, principal, generator, response, "generators", idempotency_key)


@router.get("/generators", tags=["generators"], responses=LISTED)
def get_generators(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> GeneratorPage:
    page, following = _page(services, principal, Generator, position, limit)
    return GeneratorPage(items=tuple(each.entry for each in page), next_cursor=following)


@router.get("/generators/{name}", tags=["generators"], responses=FOUND)
def get_generator(name: str, principal: PrincipalHere, services: ServicesHere) -> Generator:
    return _get(services, principal, Generator, name)
