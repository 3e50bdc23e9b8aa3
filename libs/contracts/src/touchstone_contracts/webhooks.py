"""Webhooks: addresses that are told when experiments end."""

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from touchstone_contracts.values import Lenient, Strict
from touchstone_contracts.views import Page

EXPERIMENT_ENDED = "experiment.ended"
WEBHOOK_TEST = "webhook.test"
DeliveryState = Literal["pending", "delivered", "failed"]


def _is_web_address(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("must be http:// or https:// with a host and without a user or password")
    if parts.port == 0:
        raise ValueError("port 0 cannot be connected to")
    return url


WebAddress = Annotated[str, Field(max_length=1000, pattern=r"^https?://[!-~]+$"), AfterValidator(_is_web_address)]


class WebhookSpec(Strict):
    url: WebAddress
    """Is sent a POST whenever an experiment ends."""


class WebhookView(Lenient):
    id: str
    url: str
    created_at: datetime


class WebhookRegistered(WebhookView):
    secret: str | None
    """What deliveries are signed with. Told once: None where the address was registered before."""


class DeliveryView(Lenient):
    id: str
    """The same for every attempt, in the header `webhook-id`: receivers know repetitions by it."""
    experiment: str
    """Empty of a test message."""
    state: DeliveryState
    attempts: int
    status: int | None
    """What the receiver answered last."""
    problem: str | None
    """Why the last attempt was not accepted."""
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None


class WebhookPage(Page):
    items: tuple[WebhookView, ...]


class DeliveryPage(Page):
    items: tuple[DeliveryView, ...]


class WebhookMessage(Lenient):
    """What receivers are sent."""

    type: str
    """`experiment.ended`, or `webhook.test`; receivers answer 2xx to others too."""
    timestamp: datetime
    data: dict[str, Any]
    """Of an experiment that ended: `experiment`, `phase`, `steps` (counts by state) and `links`."""
