"""The dashboard in a real browser, against a real server with made-up results."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect
from sqlalchemy import update
from support.browsing import DESK, PHONE, Visitor
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import memory_services
from support.served_api import serving_api
from touchstone_api.bootstrap import Services
from touchstone_store.tables import StepRow


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return memory_services(tmp_path)


@pytest.fixture
def told(services: Services) -> Told:
    return post_experiment(services)


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    with serving_api(services) as address:
        yield address


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_a_finished_experiment_shows_verdict_curves_and_images(
    browser: Browser, services: Services, told: Told, address: str, viewport: dict[str, int]
) -> None:
    finish_experiment(services, told)
    visitor = Visitor(browser, viewport)
    page = visitor.page
    page.goto(f"{address}/experiments/{told.id}")
    expect(page.locator(".chart .series")).to_have_count(8)  # two targets x two metrics, each with two arms
    expect(page.locator("#verdict .headline")).to_contain_text("retrieved beats synthetic")
    expect(page.locator("#gallery .class-block")).to_have_count(3)
    page.locator("select[name=class]").select_option(label="thing 2")
    expect(page.locator("#gallery .class-block")).to_have_count(1)
    pictures = page.locator("#gallery img")
    expect(pictures).to_have_count(16)  # two arms, ten images of the class less two dropped
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("naturalWidth", 32)
    page.locator("input[name=dropped]").check()
    expect(page.locator("#gallery .dropped")).to_have_count(4)
    assert not visitor.page_overflows()
    assert visitor.complaints == []
    assert visitor.asked_elsewhere(address) == []
    page.close()


def test_a_chart_is_saved_as_a_picture_of_the_browser(
    browser: Browser, services: Services, told: Told, address: str
) -> None:
    finish_experiment(services, told)
    visitor = Visitor(browser, DESK)
    page = visitor.page
    page.emulate_media(color_scheme="dark")
    page.goto(f"{address}/experiments/{told.id}")
    with page.expect_download() as saved:
        page.get_by_role("button", name="PNG").nth(1).click()
    assert saved.value.suggested_filename == "fine-linear_probe-test.png"
    with Image.open(saved.value.path()) as picture:
        assert picture.size[0] == 920
        colours = Counter(picture.convert("RGB").get_flattened_data())
    assert colours.most_common(1)[0][0] == (255, 255, 255)  # light, whatever the page looks like
    assert len(colours) > 100
    assert visitor.complaints == []
    page.close()


def test_a_reader_chooses_which_classes_to_look_at(
    browser: Browser, services: Services, told: Told, address: str
) -> None:
    finish_experiment(services, told, exhausted=frozenset({("synthetic", 12)}))
    visitor = Visitor(browser, DESK)
    page = visitor.page
    page.goto(f"{address}/experiments/{told.id}")
    tables = page.locator("#classes table")
    expect(tables).to_have_count(2)  # classes and confusions
    expect(tables.first).to_contain_text("fine, retrieved, 12 images: zero-shot accuracy in percent, mean over 3 seeds")
    expect(tables.first.locator("tbody tr")).to_have_count(3)
    choice = page.locator("#classes-choice")
    choice.get_by_label("Metric").select_option(label="linear-probe accuracy")
    expect(tables.first).to_contain_text("linear-probe accuracy")
    changes = tables.first.locator("tbody tr td:last-child").all_inner_texts()
    losses = [float(text.replace("−", "-")) for text in changes]
    assert losses == sorted(losses)
    choice.get_by_label("Arm").select_option(label="synthetic")
    expect(page.locator("#classes")).to_have_text("Not measured at every seed, or not yet.")
    choice.get_by_label("Images").select_option(label="6")
    expect(tables.first).to_contain_text("synthetic, 6 images")
    assert visitor.complaints == []
    page.close()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_description_of_the_api_opens_without_the_internet(
    browser: Browser, address: str, viewport: dict[str, int]
) -> None:
    visitor = Visitor(browser, viewport)
    visitor.page.goto(f"{address}/docs")
    operations = visitor.page.locator(".opblock")
    expect(operations.first).to_be_visible(timeout=60_000)
    assert operations.count() >= 25
    visitor.page.locator(".opblock-summary").first.click()
    expect(visitor.page.locator(".opblock-body").first).to_contain_text("200 and the first one for the same spec again")
    assert visitor.complaints == []
    assert len(visitor.asked) >= 5
    assert visitor.asked_elsewhere(address) == []
    visitor.page.close()


def test_an_open_page_follows_the_experiment_to_its_end(
    browser: Browser, services: Services, told: Told, address: str
) -> None:
    visitor = Visitor(browser, DESK)
    page = visitor.page
    page.goto(f"{address}/experiments/{told.id}")
    page.wait_for_selector("#verdict.pending")
    assert page.locator(".chart").count() == 0
    expect(page.locator("#gallery .note")).to_have_text(["not curated yet"] * 6)  # three classes, two arms
    finish_experiment(services, told)
    page.wait_for_selector("#verdict.a_better", timeout=30_000)
    page.wait_for_selector(".chart .series", timeout=30_000)
    page.wait_for_selector("#gallery img", timeout=30_000)
    assert page.locator("#head .phase").inner_text() == "succeeded"
    assert visitor.complaints == []
    page.close()


def test_the_list_tells_each_verdict(browser: Browser, services: Services, told: Told, address: str) -> None:
    finish_experiment(services, told)
    visitor = Visitor(browser, DESK)
    page = visitor.page
    page.goto(address)
    expect(page.locator(".headline")).to_contain_text("retrieved beats")
    assert page.locator("[data-verdict]").count() == 0
    with services.store.write() as session:  # as of an experiment judged before headlines were stored
        session.execute(update(StepRow).values(headline=None))
    page.reload()
    expect(page.locator("[data-verdict]")).to_contain_text("retrieved beats")
    assert visitor.complaints == []
    page.close()


def test_an_experiment_is_estimated_and_posted_from_the_text_of_a_clone(
    browser: Browser, services: Services, told: Told, address: str
) -> None:
    finish_experiment(services, told)
    visitor = Visitor(browser, PHONE)
    page = visitor.page
    page.goto(f"{address}/new?parent={told.id}")
    page.get_by_text("Edit everything as text").click()
    spec = page.get_by_label("The spec as JSON")
    document = json.loads(spec.input_value()) | {"name": "with two seeds", "seeds": [0, 1]}
    spec.fill(json.dumps(document))
    expect(page.get_by_role("textbox", name="Seeds", exact=True)).to_have_value("0, 1")
    page.get_by_role("button", name="Estimate").click()
    estimate = page.locator("#estimate")
    # The first estimate of a process imports SciPy.
    expect(estimate.get_by_text("With 2 seeds and 20 test images")).to_be_visible(timeout=30_000)
    expect(estimate).to_contain_text("as in 1 earlier experiment with this target and metric and these kinds of arms")
    expect(estimate).to_contain_text("of them done already")
    page.get_by_text("Spread that you expect").click()
    page.get_by_label("Between seeds").fill("3")
    page.get_by_label("Between test images").fill("12")
    page.get_by_label("Unexplained by either").fill("25")
    page.get_by_role("button", name="Estimate").click()
    expect(estimate).to_contain_text("as declared in the request")
    assert not visitor.page_overflows()
    spec.fill(json.dumps({name: value for name, value in document.items() if name != "curation"}))
    expect(estimate.get_by_role("alert")).to_contain_text("Settings of the parent are left out")
    spec.fill(json.dumps(document | {"sizes": [0]}))
    page.get_by_role("button", name="Run").click()
    expect(estimate.get_by_role("alert")).to_contain_text("Invalid request")
    spec.fill("{")
    page.get_by_role("button", name="Run").click()
    expect(estimate.get_by_role("alert")).to_contain_text("The spec is no JSON")
    spec.fill(json.dumps(document))
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("with two seeds")
    expect(page.get_by_role("heading", name="Declared before it ran")).to_be_visible()
    expect(page.locator("main")).to_contain_text(f"Added later: cloned from {told.id}")
    assert visitor.asked_elsewhere(address) == []
    page.close()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_form_is_filled_wrongly_then_rightly_and_run(
    browser: Browser, services: Services, told: Told, address: str, viewport: dict[str, int]
) -> None:
    visitor = Visitor(browser, viewport)
    page = visitor.page
    page.goto(f"{address}/new")
    estimate, sizes = page.locator("#estimate"), page.get_by_role("textbox", name="Sizes")
    # The example asks for more images than this small upstream has, and says so where it asks.
    expect(sizes).to_have_attribute("aria-invalid", "true")
    expect(sizes).to_have_accessible_description(re.compile("can leave at most 90 images"))
    sizes.fill("6, many")
    expect(sizes).to_have_accessible_description(re.compile("many: Input should be a valid integer"))
    expect(estimate.get_by_role("link", name="Sizes")).to_be_visible()
    assert page.locator("[aria-invalid]").count() == 1
    sizes.fill("6, 12")
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    expect(estimate).to_contain_text("from assumed speeds: nothing was measured here yet", timeout=30_000)
    expect(estimate).to_contain_text("Minutes of work")
    assert not visitor.page_overflows()
    # An arm is added by keyboard; what it needs is asked for at its field.
    page.get_by_label("Kind of the next arm").select_option("generation")
    page.get_by_role("button", name="Add arm").press("Enter")
    arms = page.get_by_role("group").filter(has=page.get_by_role("button", name="Remove this arm"))
    expect(arms).to_have_count(4)
    added = arms.nth(3)
    expect(added.get_by_role("textbox", name="Name")).to_be_focused()
    images = added.get_by_role("textbox", name=re.compile("^Images"))
    expect(images).to_have_accessible_description(re.compile("Field required"))
    generator = added.get_by_role("combobox", name="Generator")
    expect(generator).to_have_attribute("aria-invalid", "true")
    assert generator.locator("option").all_inner_texts() == ["Choose", "diffusion", "stranger"]
    generator.select_option("diffusion")
    images.fill("301")
    added.get_by_text("More settings").click()
    added.get_by_role("textbox", name="Sampler, steps").fill("0")
    expect(added.get_by_role("textbox", name="Sampler, steps")).to_have_attribute("aria-invalid", "true")
    added.get_by_role("textbox", name="Sampler, steps").fill("20")
    # What is edited in the text alone is asked for at its arm.
    page.get_by_label("Kind of the next arm").select_option("mixture")
    page.get_by_role("button", name="Add arm").press("Enter")
    expect(arms.nth(4).locator("> .problem")).to_have_text("parts: Field required")
    arms.nth(4).get_by_role("button", name="Remove this arm").press("Enter")
    arms.nth(0).get_by_role("button", name="Remove this arm").press("Enter")
    expect(arms).to_have_count(3)
    page.get_by_label("Kind of recipe").select_option("lora")
    page.get_by_role("textbox", name="Epochs").fill("2")
    page.get_by_role("checkbox", name="fine").check()
    page.get_by_role("textbox", name="Name").first.fill("Made from a form")
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    expect(estimate.get_by_text("published speeds")).to_be_visible(timeout=30_000)
    document = json.loads(page.locator("#spec").input_value())
    assert document["targets"] == ["broad", "fine"]
    assert document["arms"][2] == {
        "kind": "generation", "name": "generation", "generator": "diffusion", "images": 301, "sampler": {"steps": 20}
    }  # fmt: skip
    assert document["recipe"] == {"kind": "lora", "epochs": 2}
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Made from a form")
    # Chromium reports each refused check; nothing else went wrong.
    assert [text for text in visitor.complaints if "422" not in text] == []
    assert visitor.asked_elsewhere(address) == []
    page.close()
