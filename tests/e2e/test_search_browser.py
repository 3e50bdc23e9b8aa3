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


def require_results(page: Page, heading: str) -> None:
    """Of the search with the heading, however long it takes to get there."""
    title = page.locator("#found-title")
    expect(title).to_contain_text(heading, timeout=60_000)
    expect(title.locator(".phase")).to_have_text("succeeded", timeout=60_000)
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
    page.locator("input[name=text]").fill(world.captions[4])
    page.keyboard.press("Enter")
    require_results(page, world.captions[4])
    expect(page.locator(".found li").first).to_contain_text("Score 0.")
    (tmp_path / "own.png").write_bytes(world.images[9])
    page.locator("input[name=image]").set_input_files(tmp_path / "own.png")
    page.get_by_role("button", name="Search by it").click()
    require_results(page, "Like the image that was sent")
    first = page.locator(".found li").first
    source = first.locator("img").get_attribute("src") or ""
    assert source.endswith(f"/images/{sha256(world.images[9])}")
    page.get_by_role("link", name="More like result 1", exact=True).focus()
    page.keyboard.press("Enter")
    require_results(page, "More like one image")
    assert not visitor.page_overflows()
    assert visitor.complaints == []
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
    page.locator("input[name=image]").set_input_files(tmp_path / "large.png")
    page.get_by_role("button", name="Search by it").click()
    expect(page.get_by_role("alert")).to_contain_text("larger than 4 MiB")
    page.locator("input[name=image]").set_input_files(tmp_path / "none.png")
    page.get_by_role("button", name="Search by it").click()
    expect(page.locator(".problem")).to_contain_text("cannot be searched for", timeout=60_000)
    assert visitor.complaints == []
    page.close()


def test_words_are_searched_without_scripts(browser: Browser, world: Searchable, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/upstreams/{NAME}")
    expect(page.locator("input[name=image]")).not_to_be_visible()
    page.locator("input[name=text]").fill(world.captions[5])
    page.locator("select[name=search_in]").select_option("captions")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#found-title")).to_be_visible(timeout=60_000)
    while page.locator("#waiting").count():
        page.get_by_role("link", name="Look again").click()
    expect(page.locator(".found li").first).to_contain_text(world.captions[5])
    context.close()
