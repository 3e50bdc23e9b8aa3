"""/v1/project, /v1/keys, /v1/audit, and what a project shares with the others."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Path, Query
from touchstone_contracts.access import AuditPage, CreatedKey, KeyPage, NewKey, ProjectView
from touchstone_store.audit import list_audit
from touchstone_store.catalogue import share_entry
from touchstone_store.keys import create_key, list_keys, revoke_key
from touchstone_store.projects import limits_of, share_plan, use_of
from touchstone_store.tables import ProjectRow

from touchstone_api.access.authorise import BY_ADMINS, ENTRIES, PrincipalHere
from touchstone_api.cursors import PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented

router = APIRouter(prefix="/v1", tags=["access"])

Limit = Annotated[int, Query(ge=1, le=200)]
Wanted = Annotated[
    NewKey,
    Body(openapi_examples={"90 days": {"value": {"label": "Ana's laptop", "scope": "write", "expires_in_days": 90}}}),
]
Plural = Annotated[Literal["upstreams", "targets", "datasets", "encoders", "generators"], Path()]


@router.get("/project", responses=documented(503))
def get_project(principal: PrincipalHere, services: ServicesHere) -> ProjectView:
    """The project of the key that the request carries: its limits, and how much of them is used."""
    with services.store.read() as session:
        row = session.get_one(ProjectRow, principal.project)
        return ProjectView(
            name=row.name,
            scope=principal.scope,
            created_at=row.created_at,
            limits=limits_of(session, principal.project),
            use=use_of(session, principal.project, datetime.now(UTC)),
        )


@router.post("/keys", status_code=201, responses=documented(400, 413, 422, 503), openapi_extra=BY_ADMINS)
def create_api_key(wanted: Wanted, principal: PrincipalHere, services: ServicesHere) -> CreatedKey:
    """A key of this project. The answer holds it this once, so there is no Idempotency-Key: who did not get the answer
    revokes what was made and asks for another."""
    with services.store.write() as session:
        return create_key(session, principal.project, wanted, datetime.now(UTC))


@router.get("/keys", responses=documented(422, 503), openapi_extra=BY_ADMINS)
def get_api_keys(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> KeyPage:
    """Of this project, the revoked and expired ones too."""
    with services.store.read() as session:
        found = list_keys(session, principal.project, after=position.after, limit=limit + 1)
    page, following = position.cut(found, limit, lambda key: key.id)
    return KeyPage(items=tuple(page), next_cursor=following)


@router.delete("/keys/{key}", status_code=204, responses=documented(404, 503), openapi_extra=BY_ADMINS)
def revoke_api_key(key: str, principal: PrincipalHere, services: ServicesHere) -> None:
    """From the next request on it is unknown, and so are logins with it."""
    with services.store.write() as session:
        revoke_key(session, principal.project, key, datetime.now(UTC))


@router.get("/audit", responses=documented(422, 503), openapi_extra=BY_ADMINS)
def get_audit(principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50) -> AuditPage:
    """Requests of this project that could have changed something, the newest first: who, what, and what was
    answered."""
    before = None if position.after is None else position.row
    with services.store.read() as session:
        found = list_audit(session, principal.project, before=before, limit=limit + 1)
    page, following = position.cut(found, limit, lambda entry: str(entry.id))
    return AuditPage(items=tuple(page), next_cursor=following)


@router.put(
    "/experiments/{experiment}/share", status_code=204, responses=documented(403, 404, 503), openapi_extra=BY_ADMINS
)
def share_experiment(experiment: str, services: ServicesHere) -> None:
    """Every project may read it from now on; only this one may change it."""
    with services.store.write() as session:
        share_plan(session, experiment, shared=True)


@router.delete(
    "/experiments/{experiment}/share", status_code=204, responses=documented(403, 404, 503), openapi_extra=BY_ADMINS
)
def unshare_experiment(experiment: str, services: ServicesHere) -> None:
    with services.store.write() as session:
        share_plan(session, experiment, shared=False)


@router.put(
    "/{plural}/{name}/share", status_code=204, responses=documented(403, 404, 409, 422, 503), openapi_extra=BY_ADMINS
)
def share_registered(plural: Plural, name: str, principal: PrincipalHere, services: ServicesHere) -> None:
    """Every project may use it in experiments from now on. 409 where another project shares a thing of that name."""
    with services.store.write() as session:
        share_entry(session, ENTRIES[plural], name, principal.project, shared=True)


@router.delete(
    "/{plural}/{name}/share", status_code=204, responses=documented(403, 404, 422, 503), openapi_extra=BY_ADMINS
)
def unshare_registered(plural: Plural, name: str, principal: PrincipalHere, services: ServicesHere) -> None:
    """Experiments that used it go on."""
    with services.store.write() as session:
        share_entry(session, ENTRIES[plural], name, principal.project, shared=False)
