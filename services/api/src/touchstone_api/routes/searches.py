"""/v1/upstreams/{name}/search and /searches: which images of an upstream answer to words or to an image."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Request, Response
from touchstone_contracts.search import MOST_IMAGE_ID, UpstreamSearch
from touchstone_contracts.views import SearchView

from touchstone_api.access.authorise import BY_USERS, PrincipalHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented
from touchstone_api.routes.image_bytes import ENCODED_IMAGE, image_bytes
from touchstone_api.upstream_search import failure_of, read_found_image, search_now, view_of_search

router = APIRouter(prefix="/v1/upstreams/{name}", tags=["upstreams"])

EXAMPLES: dict[str, Any] = {
    "by words": {"value": {"text": "a flag with a red circle", "limit": 12}},
    "more like an image": {"value": {"like": "0" * 64, "search_in": "captions"}},
}
LATER: dict[int | str, dict[str, Any]] = {
    202: {"model": SearchView, "description": "Under way: `Location` tells its answer once there is one"}
}
SearchId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
ImageOfSearch = Annotated[str, Path(max_length=MOST_IMAGE_ID)]


@router.post("/search", openapi_extra=BY_USERS, responses={**LATER, **documented(404, 409, 503)})
async def search_upstream(
    name: str,
    asked: Annotated[UpstreamSearch, Body(openapi_examples=EXAMPLES)],
    request: Request,
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
) -> SearchView:
    """The images that are nearest to a text, to an image that is sent, or to an image of the upstream. A worker
    computes it, so it needs the scope `write`; the upstream may be one that another project shares. A search that was
    computed before is answered at once.

    Files that are not ingested yet are not searched; `files` of `all_files` were. 409 `not_ingested`: none is."""
    view, in_time = await search_now(request, services, principal.project, name, asked)
    if view.phase in ("failed", "cancelled"):
        raise failure_of(view)
    response.status_code = 200 if in_time else 202
    response.headers["Location"] = f"/v1/upstreams/{name}/searches/{view.id}"
    return view


@router.get("/searches/{search}", responses=documented(404, 503))
def get_search(name: str, search: SearchId, principal: PrincipalHere, services: ServicesHere) -> SearchView:
    """How far a search of this project is, and what it has found. Searches go a while after they were asked for, when
    an operator collects what nobody needs; the same search is then computed again."""
    return view_of_search(services, principal.project, name, search)


@router.get(
    "/searches/{search}/images/{image}",
    response_class=Response,
    responses={200: ENCODED_IMAGE, **documented(404, 503)},
)
def get_found_image(
    name: str, search: SearchId, image: ImageOfSearch, principal: PrincipalHere, services: ServicesHere
) -> Response:
    """The bytes of an image that the search found, as they were ingested. 404 of a link: its image is downloaded by
    workers, once an experiment needs it."""
    return image_bytes(image, read_found_image(services, principal.project, name, search, image))
