"""Webhooks on the end of experiments: signed, at least once, again where nobody listened, never into private networks
unless that is allowed. On both databases."""

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import WEBHOOK_KEY, api_client
from support.webhook_receiver import Received, Receiver, receiving
from touchstone_api.bootstrap import Services
from touchstone_conductor.posting import post
from touchstone_conductor.webhooks import WebhookSender
from touchstone_store.webhook_keys import WebhookKeys
from touchstone_store.webhooks import CLAIM, MOST_ATTEMPTS, claim_delivery, due_deliveries


@dataclass
class World:
    services: Services
    api: TestClient
    receiver: Receiver
    at: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=1))

    def sender(self, *, private_addresses: bool = True, seconds: float = 10) -> WebhookSender:
        keys = WebhookKeys(self.services.settings.webhook_key)
        return WebhookSender(self.services.store, lambda: self.at, keys, private_addresses, seconds)

    def register(self) -> dict[str, Any]:
        answer = self.api.post("/v1/webhooks", json={"url": self.receiver.url})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def end_an_experiment(self) -> str:
        told = post_experiment(self.services)
        finish_experiment(self.services, told)
        return told.id

    def deliveries(self, webhook: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self.api.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["items"])


@pytest.fixture
def world(either_database: Services) -> Iterator[World]:
    with receiving() as receiver, api_client(either_database) as api:
        yield World(either_database, api, receiver)


def is_signed(received: Received, secret: str) -> bool:
    """As a receiver checks it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    head = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}."
    expected = base64.b64encode(hmac.new(key, head.encode() + received.body, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(received.headers["webhook-signature"], f"v1,{expected}")


def test_the_end_of_an_experiment_is_told_and_signed(world: World) -> None:
    webhook = world.register()
    experiment = world.end_an_experiment()
    assert world.sender().send_due() == 1
    assert world.sender().send_due() == 0
    [received] = world.receiver.received
    told = json.loads(received.body)
    assert (told["type"], told["data"]["experiment"], told["data"]["phase"]) == (
        "experiment.ended",
        experiment,
        "succeeded",
    )
    assert is_signed(received, webhook["secret"])
    assert not is_signed(replace(received, body=received.body + b" "), webhook["secret"])
    [delivery] = world.deliveries(webhook)
    assert (delivery["id"], delivery["state"], delivery["status"]) == (received.headers["webhook-id"], "delivered", 204)


def test_a_secret_is_told_once(world: World) -> None:
    webhook = world.register()
    again = world.api.post("/v1/webhooks", json={"url": world.receiver.url})
    assert (again.status_code, again.json()["id"], again.json()["secret"]) == (200, webhook["id"], None)
    shown = world.api.get("/v1/webhooks").text + world.api.get(f"/v1/webhooks/{webhook['id']}").text
    assert webhook["secret"] not in shown


def test_cancelled_experiments_end_too_and_deleted_webhooks_are_told_nothing(world: World) -> None:
    webhook = world.register()
    experiment = post_experiment(world.services).id
    world.api.post(f"/v1/experiments/{experiment}/cancel")
    assert [each["experiment"] for each in world.deliveries(webhook)] == [experiment]
    assert world.api.delete(f"/v1/webhooks/{webhook['id']}").status_code == 204
    assert world.sender().send_due() == 0
    assert world.api.get(f"/v1/webhooks/{webhook['id']}/deliveries").status_code == 404


@pytest.mark.parametrize("answer", [500, 404, 302, 0])
def test_what_is_not_accepted_is_sent_again_under_the_same_id(world: World, answer: int) -> None:
    webhook = world.register()
    world.end_an_experiment()
    world.receiver.answers = [answer, answer]
    for attempt in (1, 2, 3):
        assert world.sender().send_due() == 1
        assert world.sender().send_due() == 0, "a pause comes first"
        [delivery] = world.deliveries(webhook)
        assert (delivery["attempts"], delivery["state"]) == (attempt, "delivered" if attempt == 3 else "pending")
        world.at += timedelta(minutes=1)
    assert len({received.headers["webhook-id"] for received in world.receiver.received}) == 1
    assert len({received.body for received in world.receiver.received}) == 1
    assert len(world.receiver.received) == 3


def test_nobody_is_asked_for_ever_and_a_person_may_ask_again(world: World) -> None:
    webhook = world.register()
    world.end_an_experiment()
    world.receiver.answers = [503] * MOST_ATTEMPTS
    began = world.at
    while world.deliveries(webhook)[0]["state"] == "pending":
        world.sender().send_due()
        world.at += timedelta(minutes=10)
    [delivery] = world.deliveries(webhook)
    assert (delivery["state"], delivery["attempts"], delivery["status"]) == ("failed", MOST_ATTEMPTS, 503)
    assert timedelta(hours=5) < world.at - began < timedelta(hours=9)
    path = f"/v1/webhooks/{webhook['id']}/deliveries/{delivery['id']}/retry"
    assert world.api.post(path).json()["state"] == "pending"
    world.sender().send_due()
    assert world.deliveries(webhook)[0]["state"] == "delivered"


def test_who_is_gone_is_not_asked_again(world: World) -> None:
    webhook = world.register()
    world.end_an_experiment()
    world.receiver.answers = [410]
    world.sender().send_due()
    assert world.deliveries(webhook)[0]["state"] == "failed"


def test_private_addresses_are_refused_unless_they_are_allowed(world: World) -> None:
    webhook = world.register()
    world.end_an_experiment()
    world.sender(private_addresses=False).send_due()
    [delivery] = world.deliveries(webhook)
    assert (delivery["state"], delivery["status"]) == ("pending", None)
    assert "private network" in delivery["problem"]
    assert world.receiver.received == []


PRIVATE = [
    "http://localhost",
    "http://2130706433",
    "http://[::ffff:127.0.0.1]",
    "http://169.254.169.254",
    "http://10.0.0.1",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_no_spelling_of_a_private_address_is_connected(url: str) -> None:
    posted = post(f"{url}/x", b"{}", {}, private_addresses=False, seconds=5)
    assert posted.status is None
    assert posted.problem is not None
    assert "private network" in posted.problem


def test_an_answer_that_never_ends_is_cut_off(world: World) -> None:
    webhook = world.register()
    world.end_an_experiment()
    world.receiver.answers = [1]
    world.sender(seconds=0.5).send_due()
    [delivery] = world.deliveries(webhook)
    assert (delivery["state"], delivery["status"]) == ("pending", None)
    assert "no answer" in delivery["problem"]


def test_of_two_conductors_one_sends(world: World) -> None:
    webhook = world.register()
    for _ in range(4):
        experiment = post_experiment(world.services).id
        world.api.post(f"/v1/experiments/{experiment}/cancel")
        world.api.delete(f"/v1/experiments/{experiment}")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: world.sender().send_due(), range(4)))
    ids = [received.headers["webhook-id"] for received in world.receiver.received]
    assert len(ids) == len(set(ids)) == len(world.deliveries(webhook)) == 4


KILLED = """
import os, signal, sys
from datetime import datetime
from pydantic import SecretStr
from touchstone_conductor import webhooks
from touchstone_store.database import open_store
from touchstone_store.webhook_keys import WebhookKeys
def die(self, claimed, posted):
    os.kill(os.getpid(), signal.SIGKILL)
webhooks.WebhookSender._settle = die
at = datetime.fromisoformat(sys.argv[2])
keys = WebhookKeys(SecretStr(sys.argv[3]))
webhooks.WebhookSender(open_store(sys.argv[1]), lambda: at, keys, True).send_due()
"""


def test_a_delivery_whose_sender_was_killed_is_sent_again(world: World) -> None:
    webhook = world.register()
    world.end_an_experiment()
    url = world.services.store.engine.url.render_as_string(hide_password=False)
    said = [url, world.at.isoformat(), WEBHOOK_KEY]
    killed = subprocess.run([sys.executable, "-c", KILLED, *said], env=dict(os.environ), timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(world.receiver.received) == 1
    assert world.sender().send_due() == 0, "the dead process still holds it"
    world.at += CLAIM
    assert world.sender().send_due() == 1
    assert len({received.headers["webhook-id"] for received in world.receiver.received}) == 1
    assert len(world.receiver.received) == 2
    assert world.deliveries(webhook)[0]["state"] == "delivered"


def test_a_claim_is_given_once(world: World) -> None:
    world.register()
    world.end_an_experiment()
    with world.services.store.read() as session:
        [due] = due_deliveries(session, world.at, 9)
    claims = []
    for _ in range(2):
        with world.services.store.write() as session:
            claims.append(claim_delivery(session, due, world.at))
    assert [claim is None for claim in claims] == [False, True]


ADDRESSES = [
    "ftp://example.org/x",
    "http://",
    "http://user:secret@example.org",
    "http://example.org:99999",
    "http://example.org:0",
    "http://example.org/a b",
    "http://[::1",
    "//example.org",
    "http://" + "a" * 2000,
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_what_is_no_web_address_is_refused(world: World, url: str) -> None:
    assert world.api.post("/v1/webhooks", json={"url": url}).status_code == 422
