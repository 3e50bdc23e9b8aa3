"""An upstream is searched in a browser: by words, by an image of one's own, and for more like a result."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from support.browsing import DESK, PHONE, Visitor
from support.searchable import NAME, Searchable, at_work, searchable
from support.served_api import serving_api
from touchstone_contracts.identity import sha256

SERIOUS = ("serious", "critical")
RESULTS = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searchable]:
    with searchable(tmp_path_factory.mktemp("searchable")) as world:
        yield world


@pytest.fixture(scope="module")
def address(world: Searchable) -> Iterator[str]:
    """A search is not waited for, so that the page that waits is seen too."""
    impatient = world.services.settings.model_copy(update={"search_patience_seconds": 0})
    with at_work(world), serving_api(replace(world.services, settings=impatient)) as address:
        yield address


def require_results(page: Page) -> None:
    expect(page.locator(".phase.succeeded")).to_be_visible(timeout=60_000)
    pictures = page.locator(".found img")
    expect(pictures).to_have_count(RESULTS)
    for picture in pictures.all()[:3]:
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_a_reader_searches_by_words_by_an_image_and_for_more_like_it(
    browser: Browser, world: Searchable, address: str, tmp_path: Path, viewport: dict[str, int], scheme: str
) -> None:
    visitor = Visitor(browser, viewport)
    page = visitor.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    page.goto(f"{address}/upstreams/{NAME}")
    page.get_by_label("Words").fill(world.captions[4])
    page.keyboard.press("Enter")
    require_results(page)
    expect(page.locator("#found-title")).to_contain_text(world.captions[4])
    expect(page.locator(".found li").first).to_contain_text("Score 0.")
    (tmp_path / "own.png").write_bytes(world.images[9])
    page.get_by_label("Or by an image").set_input_files(tmp_path / "own.png")
    page.get_by_role("button", name="Search by it").click()
    page.wait_for_url(f"{address}/upstreams/{NAME}/searches/*")
    expect(page.locator("#found-title")).to_contain_text("Like the image that was sent")
    require_results(page)
    first = page.locator(".found li").first
    expect(first.locator("img")).to_have_attribute("src", f"{page.url.removeprefix(address)}".replace(
        "/upstreams", "/v1/upstreams", 1) + f"/images/{sha256(world.images[9])}")  # fmt: skip
    page.get_by_role("link", name="More like result 1", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#found-title")).to_contain_text("More like one image")
    require_results(page)
    assert not visitor.page_overflows()
    assert visitor.serious_complaints() == []
    assert visitor.asked_elsewhere(address) == []
    violations = [each for each in Axe().run(page).response["violations"] if each["impact"] in SERIOUS]
    assert violations == []
    page.close()


def test_a_file_that_is_no_image_is_told_beside_the_form(browser: Browser, address: str, tmp_path: Path) -> None:
    visitor = Visitor(browser, DESK)
    page = visitor.page
    page.goto(f"{address}/upstreams/{NAME}")
    (tmp_path / "large.png").write_bytes(b"x" * (4 * 2**20 + 1))
    (tmp_path / "none.png").write_bytes(b"no image")
    page.get_by_label("Or by an image").set_input_files(tmp_path / "large.png")
    page.get_by_role("button", name="Search by it").click()
    expect(page.get_by_role("alert")).to_contain_text("larger than 4 MiB")
    page.get_by_label("Or by an image").set_input_files(tmp_path / "none.png")
    page.get_by_role("button", name="Search by it").click()
    expect(page.locator(".problem")).to_contain_text("cannot be searched for", timeout=60_000)
    assert visitor.serious_complaints() == []
    page.close()


def test_words_are_searched_without_scripts(browser: Browser, world: Searchable, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/upstreams/{NAME}")
    expect(page.get_by_label("Or by an image")).not_to_be_visible()
    page.get_by_label("Words").fill(world.captions[5])
    page.get_by_label("Search in").select_option("captions")
    page.get_by_role("button", name="Search", exact=True).click()
    for _ in range(60):
        if page.locator(".phase.succeeded").count():
            break
        page.get_by_role("link", name="Look again").click()
    expect(page.locator(".found li").first).to_contain_text(world.captions[5])
    context.close()
