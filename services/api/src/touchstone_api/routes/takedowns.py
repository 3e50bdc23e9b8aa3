"""/v1/takedowns: images that no step uses any more, and what was computed with them."""

from typing import Annotated

from fastapi import APIRouter, Query
from touchstone_contracts.views import TakedownPage
from touchstone_store.takedowns import list_takedowns

from touchstone_api.access.authorise import PrincipalHere
from touchstone_api.cursors import PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented

router = APIRouter(prefix="/v1/takedowns", tags=["takedowns"])


@router.get("", responses=documented(422, 503))
def get_takedowns(
    principal: PrincipalHere,
    services: ServicesHere,
    position: PositionHere,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TakedownPage:
    """With the experiments whose results were computed with one of the images. They are made at the terminal of an
    operator (`python -m touchstone_conductor.takedown`), because every stored image set is searched for them."""
    with services.store.read() as session:
        found = list_takedowns(session, principal.project, after=position.after, limit=limit + 1)
    page, following = position.cut(found, limit, lambda takedown: takedown.id)
    return TakedownPage(items=tuple(page), next_cursor=following)
