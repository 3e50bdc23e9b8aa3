"""Every page, in light on a desk and in dark on a phone: nothing sticks out, the browser complains about nothing, and
what axe-core looks for (contrast, names, roles, order of headings) is there."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, expect
from support.browsing import DESK, PHONE, Visitor
from support.finished_experiments import Told, post
from support.memory_services import memory_services
from support.served_api import serving_api
from support.shown_images import pool_rows, show_images
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_api.main import PAGES
from touchstone_api.upstream_search import submit_search
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.search import UpstreamSearch
from touchstone_store.webhooks import register_webhook

SERIOUS = ("serious", "critical")
REFUSED = "the server responded with a status of 4"
"""What the browser says of a page that is not there, and of a spec in the form that does not fit this small world."""
FURTHER = ("/problems", "/problems/not_found", "/nothing-here")
NAMED = {
    "/upstreams/{name}": "/upstreams/world",
    "/targets/{name}": "/targets/fine",
    "/encoders/{name}": "/encoders/clip",
    "/generators/{name}": "/generators/diffusion",
    "/datasets/{name}": "/datasets/fine-by-hand",
}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return memory_services(tmp_path)


@pytest.fixture
def told(services: Services) -> Told:
    told = show_images(services)
    with services.store.write() as session:
        url = f"https://hooks.example.org/{'a-long-address/' * 6}"
        register_webhook(session, DEFAULT_PROJECT, url, "never sent", datetime.now(UTC))
    return told


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    with serving_api(services) as address:
        yield address


@pytest.fixture
def pages(services: Services, told: Told) -> list[str]:
    """A path of every route that answers with a page, and further ones."""
    routes = [route for part in PAGES for route in part.router.routes if isinstance(route, APIRoute)]
    templates = {route.path for route in routes if route.response_class is HTMLResponse}
    other = post(services, spec(name="another", seeds=(0, 1)), DictLookup())
    leaked = pool_rows("fine", "retrieved")[2].id
    search = submit_search(services, DEFAULT_PROJECT, "world", UpstreamSearch(text="a long search for " + "owls " * 40))
    looked_into, images = f"/experiments/{told.id}", f"/experiments/{told.id}/arms/retrieved/images"
    paths = NAMED | {
        "/upstreams/{name}/searches/{search}": f"/upstreams/world/searches/{search}",
        "/experiments/{experiment}": looked_into,
        "/experiments/{experiment}/arms/{arm}/images": f"{images}?target=fine",
        "/experiments/{experiment}/arms/{arm}/images/{image}": f"{images}/{leaked}?target=fine",
        "/experiments/{experiment}/steps": f"{looked_into}/steps",
        "/experiments/{experiment}/runs": f"{looked_into}/runs",
        "/compare": f"/compare?id={told.id}&id={other.id}",
    }
    assert set(paths) <= templates
    assert len(templates) >= 21
    return [*sorted(paths.get(template, template) for template in templates), *FURTHER]


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_every_page_can_be_read_by_everybody(
    browser: Browser, address: str, pages: list[str], viewport: dict[str, int], scheme: str
) -> None:
    found: list[str] = []
    for path in pages:
        visitor = Visitor(browser, viewport)
        visitor.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
        visitor.page.goto(f"{address}{path}", wait_until="networkidle")
        if path == "/docs":
            expect(visitor.page.locator(".opblock").last).to_be_visible(timeout=60_000)
        if visitor.page_overflows():
            found.append(f"{path} is wider than the screen")
        found += [f"{path}: {complaint}" for complaint in visitor.complaints if REFUSED not in complaint]
        for violation in Axe().run(visitor.page).response["violations"]:
            if violation["impact"] in SERIOUS:
                where = [node["target"] for node in violation["nodes"]]
                found.append(f"{path}: {violation['id']} at {where[:12]} and {max(0, len(where) - 12)} more")
        visitor.page.close()
    assert not found, "\n".join(found)
