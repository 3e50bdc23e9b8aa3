"""The dashboard in a real browser, against a real server with made-up results."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from support.browsing import DESK, PHONE, Visitor
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import memory_services
from support.served_api import serving_api
from touchstone_api.bootstrap import Services


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
    # Two targets x two metrics, each with two arms and the untouched encoder.
    expect(page.locator(".chart .scatterlayer .trace")).to_have_count(12)
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
    assert visitor.serious_complaints() == []
    assert visitor.asked_elsewhere(address) == []
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
    assert visitor.serious_complaints() == []
    page.close()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_description_of_the_api_opens_without_the_internet(
    browser: Browser, address: str, viewport: dict[str, int]
) -> None:
    visitor = Visitor(browser, viewport)
    visitor.page.goto(f"{address}/docs")
    operations = visitor.page.locator(".opblock")
    expect(operations.first).to_be_visible()
    assert operations.count() >= 25
    visitor.page.locator(".opblock-summary").first.click()
    expect(visitor.page.locator(".opblock-body").first).to_contain_text("200 and the first one for the same spec again")
    assert visitor.serious_complaints() == []
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
    assert page.locator(".chart .main-svg").count() == 0
    finish_experiment(services, told)
    page.wait_for_selector("#verdict.a_better", timeout=30_000)
    page.wait_for_selector(".chart .main-svg", timeout=30_000)
    page.wait_for_selector("#gallery img", timeout=30_000)
    assert page.locator("#head .phase").inner_text() == "succeeded"
    page.close()


def test_the_list_tells_each_verdict(browser: Browser, services: Services, told: Told, address: str) -> None:
    finish_experiment(services, told)
    visitor = Visitor(browser, DESK)
    visitor.page.goto(address)
    expect(visitor.page.locator("[data-verdict]")).to_contain_text("retrieved beats")
    assert visitor.serious_complaints() == []
    visitor.page.close()


def test_an_experiment_is_estimated_and_posted_from_the_form(
    browser: Browser, services: Services, told: Told, address: str
) -> None:
    finish_experiment(services, told)
    visitor = Visitor(browser, PHONE)
    page = visitor.page
    page.goto(f"{address}/new?parent={told.id}")
    spec = page.get_by_label("The spec as JSON")
    document = json.loads(spec.input_value()) | {"name": "with two seeds", "seeds": [0, 1]}
    spec.fill(json.dumps(document))
    page.get_by_role("button", name="Estimate").click()
    estimate = page.locator("#estimate")
    expect(estimate.locator(".headline")).to_contain_text("With 2 seeds and 20 test images")
    expect(estimate).to_contain_text("as in 1 earlier experiment with this target and metric and these kinds of arms")
    expect(estimate).to_contain_text("of them done already")
    page.get_by_label("Between seeds").fill("3")
    page.get_by_label("Between test images").fill("12")
    page.get_by_label("Unexplained by either").fill("25")
    page.get_by_role("button", name="Estimate").click()
    expect(estimate).to_contain_text("as declared in the request")
    assert not visitor.page_overflows()
    spec.fill(json.dumps(document | {"sizes": [0]}))
    page.get_by_role("button", name="Post").click()
    expect(estimate.get_by_role("alert")).to_contain_text("Invalid request")
    spec.fill("{")
    page.get_by_role("button", name="Post").click()
    expect(estimate.get_by_role("alert")).to_contain_text("The spec is no JSON")
    spec.fill(json.dumps(document))
    page.get_by_role("button", name="Post").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("with two seeds")
    expect(page.get_by_role("heading", name="Declared before it ran")).to_be_visible()
    expect(page.locator("main")).to_contain_text(f"Added later: cloned from {told.id}")
    assert visitor.asked_elsewhere(address) == []
    page.close()
