"""For receivers of webhooks: who sent a message, and whether it is new."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

from pydantic import ValidationError
from touchstone_contracts.webhooks import WebhookMessage

TOLERANCE_SECONDS = 300.0
_PREFIX = "whsec_"
_VERSION = "v1,"


class UntrustedWebhook(Exception):
    """Nothing of the message may be believed: answer 400."""


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> WebhookMessage:
    """The message of a POST that a Touchstone server sent to a webhook, once its signature was checked.

    `body`: exactly as it was received. `headers`: names in any case. `secret`: what registering the webhook told.
    `now`: seconds since 1970, of this machine unless given; a message that was signed more than `tolerance_seconds`
    before or after is refused. Within that time a message may come twice. The server itself sends one again where it
    got no answer. Its header `webhook-id` is the same then, so remember those of the last day.

    Raises UntrustedWebhook, and ValueError where `secret` is none."""
    key = _key(secret)
    given = {name.lower(): value for name, value in headers.items()}
    identifier, timestamp, signatures = (_header(given, name) for name in ("id", "timestamp", "signature"))
    _require_recent(timestamp, time.time() if now is None else now, tolerance_seconds)
    signed = f"{identifier}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # All are compared, each in a time that does not depend on where they differ.
    found = [hmac.compare_digest(expected, signature) for signature in _signatures(signatures)]
    if not any(found):
        raise UntrustedWebhook("no signature fits: another secret, or another body than the one that was signed")
    try:
        return WebhookMessage.model_validate_json(body)
    except ValidationError as error:
        raise UntrustedWebhook("the message is signed, but none that this release knows") from error


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret of a webhook is `whsec_` and base64") from error
    if not key:
        raise ValueError("the secret of a webhook is empty")
    return key


def _header(given: Mapping[str, str], name: str) -> str:
    value = given.get(f"webhook-{name}")
    if not value:
        raise UntrustedWebhook(f"the header webhook-{name} is missing")
    return value


def _require_recent(timestamp: str, now: float, tolerance_seconds: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise UntrustedWebhook("webhook-timestamp is no number of seconds")
    if abs(now - int(timestamp)) > tolerance_seconds:
        raise UntrustedWebhook(
            f"signed at {timestamp}, which is more than {tolerance_seconds:g} s from now: sent again by somebody else, "
            "or one of the two clocks is wrong"
        )


def _signatures(header: str) -> list[bytes]:
    """Several may be given, with blanks between; those of versions that are not known are left out."""
    return [each.removeprefix(_VERSION).encode() for each in header.split() if each.startswith(_VERSION)]
