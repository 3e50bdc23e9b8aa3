"""Secrets of webhooks are stored encrypted, on both databases, and keys can be replaced."""

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from sqlalchemy import MetaData, select
from support.memory_services import WEBHOOK_KEY, api_client
from support.webhook_receiver import Receiver, receiving
from touchstone.webhooks import verify_webhook
from touchstone_api.bootstrap import Services
from touchstone_conductor.webhooks import WebhookSender
from touchstone_store.database import Store, open_store
from touchstone_store.dump import write_dump
from touchstone_store.migrate import migrate
from touchstone_store.settings import StoreSettings
from touchstone_store.tables import WebhookRow
from touchstone_store.webhook_keys import WebhookKeys, renew_stored_secrets

NEW_KEY = "another-key-of-the-tests-0002"
OF_BEFORE = "whsec_" + "QUJD" * 10


@dataclass(frozen=True)
class World:
    services: Services
    api: TestClient
    receiver: Receiver

    def add(self, suffix: str = "") -> dict[str, Any]:
        answer = self.api.post("/v1/webhooks", json={"url": self.receiver.url + suffix})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def deliver(self, key: str | None) -> None:
        """What is due, by a conductor with this setting."""
        later = datetime.now(UTC) + timedelta(hours=1)
        sender = WebhookSender(self.services.store, lambda: later, keys(key), private_addresses=True)
        assert sender.send_due() >= 1

    def send_test(self, webhook: dict[str, Any]) -> dict[str, Any]:
        return dict(self.api.post(f"/v1/webhooks/{webhook['id']}/test").json())

    def delivery(self, webhook: dict[str, Any]) -> dict[str, Any]:
        [found] = self.api.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["items"]
        return dict(found)


def keys(setting: str | None) -> WebhookKeys:
    return WebhookKeys(None if setting is None else SecretStr(setting))


def stored(store: Store) -> list[str]:
    with store.read() as session:
        return list(session.scalars(select(WebhookRow.secret).order_by(WebhookRow.id)))


@pytest.fixture
def world(either_database: Services) -> Iterator[World]:
    with receiving() as receiver, api_client(either_database) as api:
        yield World(either_database, api, receiver)


def test_neither_the_database_nor_its_dump_holds_a_secret(world: World, tmp_path: Path) -> None:
    webhook = world.add()
    [held] = stored(world.services.store)
    assert keys(WEBHOOK_KEY).decrypt(held) == webhook["secret"]
    write_dump(world.services.store, tmp_path / "dump.gz")
    dumped = gzip.decompress((tmp_path / "dump.gz").read_bytes()).decode()
    assert held in dumped, "the webhook is part of the dump"
    for text in (held, dumped):
        assert webhook["secret"] not in text
        assert webhook["secret"].removeprefix("whsec_") not in text


def test_a_key_is_replaced_while_receivers_keep_their_secrets(world: World) -> None:
    webhook = world.add()
    both = f"{NEW_KEY}, {WEBHOOK_KEY}"
    assert renew_stored_secrets(world.services.store, keys(both)) == 1
    assert renew_stored_secrets(world.services.store, keys(both)) == 0, "nothing is left to do"
    world.send_test(webhook)
    world.deliver(NEW_KEY)
    [received] = world.receiver.received
    message = verify_webhook(received.body, received.headers, webhook["secret"])
    assert (message.type, message.data) == ("webhook.test", {"webhook": webhook["id"]})


@pytest.mark.parametrize(("setting", "said"), [(NEW_KEY, "does not hold"), (None, "is not set")])
def test_without_the_right_key_a_delivery_waits_and_says_why(world: World, setting: str | None, said: str) -> None:
    webhook = world.add()
    world.send_test(webhook)
    world.deliver(setting)
    waiting = world.delivery(webhook)
    assert (waiting["state"], waiting["status"]) == ("pending", None)
    assert "TOUCHSTONE_WEBHOOK_KEY" in waiting["problem"]
    assert said in waiting["problem"]
    assert world.receiver.received == []
    assert renew_stored_secrets(world.services.store, keys(setting)) == 0


def test_a_conductor_encrypts_before_it_sends(world: World) -> None:
    webhook = world.add()
    with world.services.store.write() as session:
        session.get_one(WebhookRow, webhook["id"]).secret = OF_BEFORE
    world.send_test(webhook)
    stop = threading.Event()

    class OneRound(WebhookSender):
        def send_due(self) -> int:
            stop.set()
            return super().send_due()

    later = datetime.now(UTC) + timedelta(hours=1)
    OneRound(world.services.store, lambda: later, keys(WEBHOOK_KEY), private_addresses=True).run(stop, 0.01)
    [received] = world.receiver.received
    assert verify_webhook(received.body, received.headers, OF_BEFORE).type == "webhook.test"
    assert OF_BEFORE not in stored(world.services.store)[0]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_secrets_of_an_earlier_release_are_kept_and_encrypted(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}" if database == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_store(url)
    migrate(store, "0009")
    earlier = MetaData()
    earlier.reflect(store.engine)
    with store.writer.begin() as connection:
        for number in range(3):
            row = {"id": f"hook_{number}", "project_id": "default", "url": f"https://example.org/{number}"}
            moment = {"secret": f"{OF_BEFORE[:-1]}{number}", "created_at": datetime.now(UTC)}
            connection.execute(earlier.tables["webhooks"].insert(), row | moment)
    migrate(store)
    assert renew_stored_secrets(store, keys(None)) == 0, "nothing can be done without a key"
    assert renew_stored_secrets(store, keys(WEBHOOK_KEY)) == 3
    held = stored(store)
    assert not [secret for secret in held if "whsec_" in secret]
    assert [keys(WEBHOOK_KEY).decrypt(each) for each in held] == [f"{OF_BEFORE[:-1]}{number}" for number in range(3)]
    store.close()


def test_without_a_key_no_webhook_is_registered(world: World) -> None:
    settings = world.services.settings.model_copy(update={"webhook_key": None})
    with api_client(replace(world.services, settings=settings)) as api:
        answer = api.post("/v1/webhooks", json={"url": world.receiver.url})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_webhook_key")
    assert "TOUCHSTONE_WEBHOOK_KEY" in answer.json()["detail"]
    assert stored(world.services.store) == []


@pytest.mark.parametrize("setting", ["", "short", f"{NEW_KEY},", f"{NEW_KEY},short"])
def test_an_empty_or_short_key_stops_the_start(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("TOUCHSTONE_WEBHOOK_KEY", setting)
    with pytest.raises(ValidationError, match="at least 20 characters"):
        StoreSettings()


def test_each_of_several_keys_is_hidden_in_logs() -> None:
    settings = StoreSettings(webhook_key=SecretStr(f"{NEW_KEY},{WEBHOOK_KEY}"))
    assert {NEW_KEY, WEBHOOK_KEY} <= set(settings.secrets)
    assert NEW_KEY not in repr(settings) + settings.model_dump_json()


def test_what_was_changed_in_the_database_is_not_decrypted(world: World) -> None:
    """The encryption is authenticated: another's secret cannot be forged, only exchanged."""
    webhook = world.add()
    [held] = stored(world.services.store)
    with world.services.store.write() as session:
        session.get_one(WebhookRow, webhook["id"]).secret = held[:40] + ("A" if held[40] != "A" else "B") + held[41:]
    world.send_test(webhook)
    world.deliver(WEBHOOK_KEY)
    assert "does not hold" in world.delivery(webhook)["problem"]
    assert world.receiver.received == []
