"""Tells webhooks that experiments ended: signed, at least once, and again later where nobody listened.

In a thread of its own, because receivers may be slow. Several conductors may send at once: each claims what it sends. A
delivery that was under way when its process was killed is claimed again once the claim has run out."""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from touchstone_contracts.problems import Transient
from touchstone_contracts.webhooks import DeliveryState
from touchstone_runtime.logs import get_logger
from touchstone_store.database import Store
from touchstone_store.webhook_keys import UnknownWebhookKey, WebhookKeys, renew_stored_secrets
from touchstone_store.webhooks import (
    Claimed,
    claim_delivery,
    due_deliveries,
    forget_old_deliveries,
    settle_delivery,
)

from touchstone_conductor.posting import Posted, post

log = get_logger(__name__)

AT_ONCE = 8
ATTEMPT_SECONDS = 10.0
"""Well below the length of a claim."""
GONE = 410
"""Says that the address will never take anything again."""


@dataclass
class WebhookSender:
    store: Store
    now: Callable[[], datetime]
    keys: WebhookKeys
    private_addresses: bool = False
    attempt_seconds: float = ATTEMPT_SECONDS

    def run(self, stop: threading.Event, pause_seconds: float) -> None:
        renewed = False
        while not stop.is_set():
            try:
                renewed = renewed or self.renew_secrets()
                busy = self.send_due() > 0
            except Transient as error:
                log.warning("webhooks.hindered", code=error.code, error=str(error))
                busy = False
            except Exception as error:  # one delivery that cannot be sent must not silence all others
                log.error("webhooks.bug", error=str(error), exc_info=error)
                busy = False
            if not busy:
                stop.wait(pause_seconds)

    def renew_secrets(self) -> bool:
        """All stored secrets are encrypted with the first key from now on. Raises Transient."""
        count = renew_stored_secrets(self.store, self.keys)
        if count:
            log.info("webhooks.secrets_renewed", count=count)
        return True

    def send_due(self) -> int:
        """How many were due. Raises Transient."""
        with self.store.read() as session:
            due = due_deliveries(session, self.now(), AT_ONCE)
        if due:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._send, due))
            with self.store.write() as session:
                forget_old_deliveries(session, self.now())
        return len(due)

    def _send(self, delivery: str) -> None:
        with self.store.write() as session:
            claimed = claim_delivery(session, delivery, self.now())
        if claimed is None:
            return
        posted = self._post(claimed)
        state = self._settle(claimed, posted)
        log.info(
            "webhook.sent",
            delivery=delivery,
            attempt=claimed.attempt,
            status=posted.status,
            state=state,
            problem=posted.problem,
        )

    def _post(self, claimed: Claimed) -> Posted:
        body = claimed.body.encode()
        try:
            secret = self.keys.decrypt(claimed.secret)
        except UnknownWebhookKey as error:
            return Posted(None, str(error))
        headers = signed_headers(claimed.id, int(time.time()), body, secret)
        return post(claimed.url, body, headers, private_addresses=self.private_addresses, seconds=self.attempt_seconds)

    def _settle(self, claimed: Claimed, posted: Posted) -> DeliveryState | None:
        with self.store.write() as session:
            return settle_delivery(
                session,
                claimed,
                self.now(),
                status=posted.status,
                problem=posted.problem,
                final=posted.status == GONE,
            )


def signed_headers(delivery: str, timestamp: int, body: bytes, secret: str) -> dict[str, str]:
    """As Standard Webhooks (standardwebhooks.com) say: HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{delivery}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "touchstone-webhooks",
        "webhook-id": delivery,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))
