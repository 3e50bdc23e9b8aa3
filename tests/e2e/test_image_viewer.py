"""Images in a real browser: opened by keyboard, by click and by tap, over the page and as pages of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from support.browsing import DESK, PHONE, Visitor
from support.finished_experiments import Told, post_experiment
from support.memory_services import fail_step, memory_services
from support.served_api import serving_api
from support.shown_images import show_images
from touchstone_api.bootstrap import Services
from touchstone_store.plan_steps import find_step

LOOKS = [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")]
IDS = ["desk light", "desk dark", "phone light", "phone dark"]
SERIOUS = ("serious", "critical")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return memory_services(tmp_path)


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    with serving_api(services) as address:
        yield address


@pytest.fixture
def told(services: Services) -> Told:
    return show_images(services)


def visit(browser: Browser, viewport: dict[str, int], scheme: str, address: str) -> Visitor:
    visitor = Visitor(browser, viewport)
    visitor.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    visitor.page.goto(address)
    return visitor


def serious_violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['target']}" for each in found if each["impact"] in SERIOUS]


@pytest.mark.parametrize(("viewport", "scheme"), LOOKS, ids=IDS)
def test_an_image_opens_by_keyboard_and_gives_the_focus_back(
    browser: Browser, told: Told, address: str, viewport: dict[str, int], scheme: str
) -> None:
    visitor = visit(browser, viewport, scheme, f"{address}/experiments/{told.id}")
    page = visitor.page
    thumbnails = page.locator("#gallery a[data-image]")
    expect(thumbnails).to_have_count(24 - 2)  # four arms of six kept images; one leaked of soft and of strong
    first = thumbnails.first
    first.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    expect(viewer).to_be_visible()
    heading = viewer.get_by_role("heading", level=1)
    expect(heading).to_be_focused()
    expect(heading).to_have_text("thing 0, retrieved")
    expect(viewer).to_contain_text("Kept: no stage of curation dropped it.")
    expect(viewer).to_contain_text("The most similar test image: thing 0, cosine 0.500")
    pictures = viewer.locator("img")
    expect(pictures).to_have_count(3)  # the image, a test image, a validation image
    for picture in pictures.all():
        expect(picture).to_have_js_property("naturalWidth", 32)
    expect(viewer).to_contain_text("1 of 2")
    assert serious_violations(page) == []
    assert not visitor.page_overflows()
    assert viewer.evaluate("viewer => viewer.scrollWidth <= viewer.clientWidth")
    source = viewer.locator("dd", has_text="upstream: retrieved-")
    expect(source).to_have_text("upstream: retrieved-0")
    page.keyboard.press("ArrowRight")
    expect(source).to_have_text("upstream: retrieved-1")
    expect(viewer.get_by_role("link", name="Next image")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(source).to_have_text("upstream: retrieved-0")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(first).to_be_focused()
    assert page.url == f"{address}/experiments/{told.id}"
    assert visitor.complaints == []
    assert visitor.asked_elsewhere(address) == []
    page.close()


def test_images_open_by_click_and_by_tap_wherever_they_stand(browser: Browser, told: Told, address: str) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True)  # type: ignore[arg-type]  # playwright's own type
    page = context.new_page()
    page.goto(f"{address}/experiments/{told.id}")
    viewer = page.locator("#viewer")
    opened = 0
    for section in ("#strips", "#leaks", "#gallery"):
        thumbnail = page.locator(f"{section} a[data-image]").first
        for act in (thumbnail.tap, thumbnail.click):
            act()
            expect(viewer.get_by_role("heading", level=1)).to_be_visible()
            viewer.get_by_role("button", name="Close").click()
            expect(viewer).to_be_hidden()
            opened += 1
    assert opened == 6
    # From a perturbed image to its parent, inside the dialog.
    page.locator("#strips tbody tr").first.locator("a[data-image]").nth(1).tap()
    expect(viewer).to_contain_text("perturbed at gamma 0.2")
    viewer.get_by_role("link", name="The image that it was perturbed from").tap()
    expect(viewer.get_by_role("heading", level=1)).to_have_text("thing 0, retrieved")
    context.close()


def test_without_scripts_an_image_is_a_page_with_neighbours(browser: Browser, told: Told, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/experiments/{told.id}/arms/retrieved/images?target=fine")
    page.get_by_label("Show").select_option(label="Dropped: Leaked (1)")
    page.get_by_role("button", name="Show").click()
    thumbnails = page.locator("a[data-image]")
    expect(thumbnails).to_have_count(1)
    thumbnails.first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("thing 0, retrieved")
    expect(page.locator("main")).to_contain_text("its cosine to the nearest test image is 0.971")
    page.get_by_role("link", name="All images of this choice").click()
    expect(thumbnails).to_have_count(1)
    context.close()


@pytest.mark.parametrize(("viewport", "scheme"), LOOKS, ids=IDS)
def test_the_page_of_an_image_can_be_shared_and_walked_by_arrow_keys(
    browser: Browser, told: Told, address: str, viewport: dict[str, int], scheme: str
) -> None:
    listed = f"{address}/experiments/{told.id}/arms/retrieved/images?target=fine&show=dropped"
    visitor = visit(browser, viewport, scheme, listed)
    page = visitor.page
    page.locator("a[data-image]").first.click()
    viewer = page.locator("#viewer")
    viewer.get_by_role("link", name="Link to this image").click()
    expect(viewer).to_have_count(0)
    expect(page.locator("main")).to_contain_text("1 of 6")
    assert serious_violations(page) == []
    assert not visitor.page_overflows()
    page.keyboard.press("ArrowRight")
    expect(page.locator("main")).to_contain_text("2 of 6")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("main")).to_contain_text("1 of 6")
    assert visitor.complaints == []
    page.close()


def test_a_failed_step_is_retried_from_the_page(browser: Browser, services: Services, address: str) -> None:
    told = post_experiment(services)
    failed = next(step for step in told.plan.steps if step.kind == "retrieve_images")
    fail_step(services, failed.id)
    visitor = visit(browser, PHONE, "dark", f"{address}/experiments/{told.id}")
    page = visitor.page
    row = page.locator("table.steps tr", has_text="no space left on device")
    row.get_by_text("The end of the worker's log").click()
    expect(row).to_contain_text("OSError: 28")
    assert not visitor.page_overflows()
    row.get_by_role("button", name="Retry").press("Enter")
    expect(page.locator("table.steps")).to_have_count(0)
    with services.store.read() as session:
        found = find_step(session, told.id, failed.id)
    assert found is not None
    assert found.state == "waiting"
    assert visitor.complaints == []
    page.close()


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_training_curves_can_be_read_by_everybody(
    browser: Browser, told: Told, address: str, viewport: dict[str, int], scheme: str
) -> None:
    visitor = visit(browser, viewport, scheme, f"{address}/experiments/{told.id}/runs?target=fine&arm=soft&size=6")
    page = visitor.page
    expect(page.locator("svg.curves")).to_have_count(2)
    page.get_by_label("Arm").select_option(label="synthetic")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("caption").first).to_contain_text("Finished runs of synthetic at 6 images")
    assert serious_violations(page) == []
    assert not visitor.page_overflows()
    assert visitor.complaints == []
    page.close()
