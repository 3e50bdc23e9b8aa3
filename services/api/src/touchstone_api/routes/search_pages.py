"""/upstreams/{name}/search and /upstreams/{name}/searches/{search}: searching an upstream in a browser."""

from typing import Annotated, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from touchstone_contracts.access import allows
from touchstone_contracts.problems import Invalid
from touchstone_contracts.search import MOST_IMAGE_ID, MOST_TEXT, SearchIn, UpstreamSearch

from touchstone_api.access.authorise import BY_USERS, PageReader
from touchstone_api.dashboard.rendering import html_page
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import invalid_body
from touchstone_api.routes.searches import SearchId
from touchstone_api.upstream_search import search_now, view_of_search

router = APIRouter(include_in_schema=False)

RESULTS_OF_A_PAGE = 24
SEARCHED: dict[SearchIn, str] = {
    "images": "images",
    "captions": "captions, by meaning",
    "words": "captions, by their words",
}
"""What is searched, as the form offers it."""
assert tuple(SEARCHED) == get_args(SearchIn)


@router.get("/upstreams/{name}/search", openapi_extra=BY_USERS)
async def search_from_a_form(
    name: str,
    request: Request,
    principal: PageReader,
    services: ServicesHere,
    text: Annotated[str, Query(max_length=MOST_TEXT)] = "",
    like: Annotated[str, Query(max_length=MOST_IMAGE_ID)] = "",
    search_in: SearchIn = "images",
) -> RedirectResponse:
    """Where the form and the links "more like this" lead: to the page of the search, which shows what it found."""
    asked = _asked(text, like, search_in)
    view, _ = await search_now(request, services, principal.project, name, asked)
    return RedirectResponse(f"/upstreams/{name}/searches/{view.id}", status_code=303)


def _asked(text: str, like: str, search_in: SearchIn) -> UpstreamSearch:
    """Raises Invalid."""
    if not text.strip() and not like:
        raise Invalid("Write what to search for: a few words, or a sentence.", code="invalid_request")
    body = {"text": text or None, "like": like or None, "search_in": search_in, "limit": RESULTS_OF_A_PAGE}
    try:
        return UpstreamSearch.model_validate(body)
    except ValidationError as error:
        raise invalid_body(error, body) from None


@router.get("/upstreams/{name}/searches/{search}", response_class=HTMLResponse)
def show_search(name: str, search: SearchId, principal: PageReader, services: ServicesHere) -> HTMLResponse:
    view = view_of_search(services, principal.project, name, search)
    return html_page(
        "search.html",
        csrf=principal.csrf,
        view=view,
        searched=SEARCHED,
        may_search=allows(principal.scope, "write"),
    )
