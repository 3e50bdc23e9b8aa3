"""Webhooks from the SDK, the terminal and the page: the api and the receiver on sockets, with real deliveries."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import OPERATOR_KEY, memory_services
from support.served_api import serving_api
from support.webhook_receiver import Receiver, receiving
from touchstone import Client
from touchstone.cli import app
from touchstone.problems import ProblemError
from touchstone.webhooks import UntrustedWebhook, verify_webhook
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_conductor.webhooks import WebhookSender
from touchstone_contracts.access import DEFAULT_PROJECT, NewKey, Scope
from touchstone_store.keys import create_key
from touchstone_store.webhook_keys import WebhookKeys
from typer.testing import CliRunner, Result


@dataclass
class World:
    services: Services
    receiver: Receiver
    address: str
    client: Client
    at: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=1))

    def send(self) -> int:
        """What is due; how many that were."""
        keys = WebhookKeys(self.services.settings.webhook_key)
        return WebhookSender(self.services.store, lambda: self.at, keys, private_addresses=True).send_due()

    def key(self, scope: Scope) -> str:
        with self.services.store.write() as session:
            return create_key(session, DEFAULT_PROJECT, NewKey(label=scope, scope=scope), datetime.now(UTC)).key

    def typed(self, *words: str, key: str = OPERATOR_KEY) -> Result:
        environment = {"TOUCHSTONE_SERVER": self.address, "TOUCHSTONE_API_KEY": key, "COLUMNS": "200"}
        return CliRunner().invoke(app, ["webhooks", *words], env=environment)

    def page(self, key: str) -> TestClient:
        """A browser that has logged in."""
        browser = TestClient(create_app(self.services), base_url="http://localhost")
        [token] = re.findall(r'name="token" value="([^"]+)"', browser.get("/login").text)
        browser.post("/login", data={"token": token, "key": key, "next": "/"})
        return browser


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    services = memory_services(tmp_path)
    with (
        receiving() as receiver,
        serving_api(services, needs_login=True) as address,
        Client(address, key=OPERATOR_KEY, retries=0) as client,
    ):
        yield World(services, receiver, address, client)


def test_a_receiver_believes_what_the_server_sends_and_nothing_else(world: World) -> None:
    webhook = world.client.add_webhook(world.receiver.url)
    assert webhook.secret is not None
    told = post_experiment(world.services)
    finish_experiment(world.services, told)
    assert world.send() == 1
    [received] = world.receiver.received
    message = verify_webhook(received.body, received.headers, webhook.secret)
    assert (message.type, message.data["experiment"], message.data["phase"]) == (
        "experiment.ended",
        told.id,
        "succeeded",
    )
    with pytest.raises(UntrustedWebhook, match="no signature fits"):
        verify_webhook(received.body.replace(b"succeeded", b"failed"), received.headers, webhook.secret)
    later = float(received.headers["webhook-timestamp"]) + 3600
    with pytest.raises(UntrustedWebhook, match="sent again"):
        verify_webhook(received.body, received.headers, webhook.secret, now=later)


def test_the_sdk_adds_tests_lists_and_removes(world: World) -> None:
    first = world.client.add_webhook(world.receiver.url)
    second = world.client.add_webhook(world.receiver.url + "/other")
    again = world.client.add_webhook(world.receiver.url)
    assert (again.id, again.secret) == (first.id, None)
    assert [each.id for each in world.client.webhooks()] == [first.id, second.id]
    sent = world.client.test_webhook(second.id)
    assert world.client.test_webhook(second.id).id == sent.id, "a test that waits is not sent twice"
    assert world.send() == 1
    [delivery] = world.client.webhook_deliveries(second.id)
    assert (delivery.id, delivery.experiment, delivery.state) == (sent.id, "", "delivered")
    assert world.client.test_webhook(second.id).id != sent.id
    assert world.client.retry_delivery(second.id, sent.id).state == "pending"
    assert world.send() == 2
    assert list(world.client.webhook_deliveries(first.id)) == []
    world.client.remove_webhook(second.id)
    assert [each.id for each in world.client.webhooks()] == [first.id]
    with pytest.raises(ProblemError) as missing:
        world.client.test_webhook(second.id)
    assert missing.value.problem.status == 404


def test_the_terminal_adds_tests_lists_and_removes(world: World) -> None:
    webhook, secret = world.typed("add", world.receiver.url).stdout.split()
    assert secret.startswith("whsec_")
    assert world.typed("add", world.receiver.url).stdout.split() == [webhook]
    assert world.receiver.url in world.typed("list").stdout
    assert secret not in world.typed("list").stdout
    delivery = world.typed("test", webhook).stdout.split(":")[0]
    world.receiver.answers = [500]
    assert world.send() == 1
    shown = world.typed("deliveries", webhook).stdout
    assert [word in shown for word in (delivery, "a test", "pending", "500")] == [True] * 4
    assert "pending" in world.typed("retry", webhook, delivery).stdout
    assert world.send() == 1
    assert "delivered" in world.typed("deliveries", webhook).stdout
    assert verify_webhook(world.receiver.received[-1].body, world.receiver.received[-1].headers, secret)
    assert world.typed("remove", webhook).exit_code == 0
    assert webhook not in world.typed("list").stdout


@pytest.mark.parametrize("url", ["ftp://example.org", "http://", "http://user:word@example.org", "example.org"])
def test_the_terminal_says_what_is_no_address(world: World, url: str) -> None:
    answer = world.typed("add", url)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "url" in answer.stderr


def test_who_may_read_sees_webhooks_and_who_administers_changes_them(world: World) -> None:
    reader, writer = world.key("read"), world.key("write")
    webhook = world.client.add_webhook(world.receiver.url).id
    assert webhook in world.typed("list", key=reader).stdout
    for words, key in (
        (("add", world.receiver.url), writer),
        (("remove", webhook), writer),
        (("test", webhook), reader),
    ):
        refused = world.typed(*words, key=key)
        assert (refused.exit_code, "scope" in refused.stderr) == (2, True), words
    assert world.typed("test", webhook, key=writer).exit_code == 0


def test_the_page_lists_addresses_with_their_last_messages(world: World) -> None:
    page = world.page(OPERATOR_KEY)
    assert "No address is registered" in page.get("/webhooks").text
    added = world.client.add_webhook(world.receiver.url)
    told = post_experiment(world.services)
    finish_experiment(world.services, told)
    world.receiver.answers = [503]
    world.send()
    world.client.test_webhook(added.id)
    text = page.get("/webhooks").text
    expected = (added.url, f"/experiments/{told.id}", "pending", "503", "a test", 'id="add-webhook"', "Remove")
    assert [word for word in expected if word not in text] == []
    assert added.secret is not None
    assert added.secret not in text
    assert text.index("a test") < text.index(told.id), "the newest first"


def test_the_page_has_buttons_for_those_who_may_use_them(world: World) -> None:
    world.client.add_webhook(world.receiver.url)
    buttons = {"add-webhook": "admin", "data-remove": "admin", "data-test": "write"}
    scopes: tuple[Scope, ...] = ("read", "write", "admin")
    for number, scope in enumerate(scopes):
        text = world.page(world.key(scope)).get("/webhooks").text
        assert world.receiver.url in text
        shown = {button for button in buttons if button in text}
        assert shown == {button for button, needed in buttons.items() if number >= scopes.index(needed)}, scope


def test_what_the_page_sends_needs_the_token_of_its_login(world: World) -> None:
    page = world.page(OPERATOR_KEY)
    [token] = re.findall('name="csrf" content="([^"]+)"', page.get("/webhooks").text)
    webhook = world.client.add_webhook(world.receiver.url).id
    calls = (
        ("POST", "", {"url": world.receiver.url}),
        ("POST", f"/{webhook}/test", None),
        ("DELETE", f"/{webhook}", None),
    )
    for method, path, body in calls:
        for headers in ({}, {"X-CSRF-Token": "x" * len(token)}):
            assert page.request(method, f"/v1/webhooks{path}", json=body, headers=headers).status_code == 403
    answers = [
        page.request(method, f"/v1/webhooks{path}", json=body, headers={"X-CSRF-Token": token}).status_code
        for method, path, body in calls
    ]
    assert answers == [200, 200, 204]


def test_the_page_cuts_long_lists_and_is_for_those_who_have_logged_in(world: World) -> None:
    for number in range(21):
        world.client.add_webhook(f"{world.receiver.url}/{number}")
    page = world.page(OPERATOR_KEY)
    first = page.get("/webhooks").text
    [following] = re.findall('href="(/webhooks[?]cursor=[^"]+)"', first)
    assert (first.count("data-remove"), page.get(following).text.count("data-remove")) == (20, 1)
    assert page.get("/webhooks?cursor=%F0%9F%98%80").status_code == 422
    nobody = TestClient(create_app(world.services), base_url="http://localhost", follow_redirects=False)
    assert nobody.get("/webhooks").headers["location"] == "/login?next=%2Fwebhooks"
