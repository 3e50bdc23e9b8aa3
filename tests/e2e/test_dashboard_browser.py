"""The dashboard in a real browser, against a real server with made-up results."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, expect
from support.browsing import DESK, PHONE, Visitor
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.memory_services import memory_services
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return memory_services(tmp_path)


@pytest.fixture
def told(services: Services) -> Told:
    return post_experiment(services)


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(create_app(services), port=0, log_level="error", lifespan="off"))
    listening = server.config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(timeout=20)
    listening.close()


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
    page.close()


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
