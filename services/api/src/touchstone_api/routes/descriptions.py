"""/v1/descriptions: how far the upstreams, targets and data sets are that were asked for by their location."""

from datetime import UTC, datetime

from fastapi import APIRouter
from touchstone_contracts.views import DescribedKind, DescriptionPage, DescriptionView
from touchstone_store.descriptions import list_descriptions, require_description
from touchstone_store.plans import cancel_plan

from touchstone_api.access.authorise import PrincipalHere
from touchstone_api.cursors import PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.descriptions import description_view, view_of
from touchstone_api.problems import documented
from touchstone_api.routes.catalogue import LISTED, Limit

router = APIRouter(prefix="/v1/descriptions", tags=["descriptions"])


@router.get("", responses=LISTED)
def get_descriptions(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> DescriptionPage:
    with services.store.read() as session:
        found = list_descriptions(session, principal.project, after=position.after, limit=limit + 1)
        page, following = position.cut(found, limit, lambda each: f"{each.kind}.{each.name}")
        return DescriptionPage(items=tuple(description_view(session, each) for each in page), next_cursor=following)


@router.get("/{kind}/{name}", responses=documented(404, 422, 503))
def get_description(
    kind: DescribedKind, name: str, principal: PrincipalHere, services: ServicesHere
) -> DescriptionView:
    return view_of(services, kind, principal.project, name)


@router.post("/{kind}/{name}/cancel", responses=documented(404, 422, 503))
def cancel_description(
    kind: DescribedKind, name: str, principal: PrincipalHere, services: ServicesHere
) -> DescriptionView:
    """Nobody looks at the location any more, unless it was looked at already. The same body, or another one, may be
    posted again."""
    with services.store.write() as session:
        cancel_plan(session, require_description(session, kind, principal.project, name).plan, datetime.now(UTC))
    return view_of(services, kind, principal.project, name)
