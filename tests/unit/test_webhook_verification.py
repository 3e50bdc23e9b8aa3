"""What receivers check: whose a message is, and that it is not an old one sent again."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from touchstone.webhooks import TOLERANCE_SECONDS, UntrustedWebhook, verify_webhook
from touchstone_conductor.webhooks import signed_headers
from touchstone_contracts.webhooks import EXPERIMENT_ENDED
from touchstone_store.webhooks import new_secret

AT = 1_767_225_600
BODY = json.dumps(
    {
        "type": EXPERIMENT_ENDED,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "data": {"experiment": "exp_1", "phase": "failed"},
    }
).encode()
SECRET, OTHER = new_secret(), new_secret()

Headers = dict[str, str]


def signed(body: bytes = BODY, secret: str = SECRET, at: int = AT) -> Headers:
    return signed_headers("msg_1", at, body, secret)


def test_what_the_server_signs_is_believed() -> None:
    message = verify_webhook(BODY, signed(), SECRET, now=AT)
    assert (message.type, message.data["experiment"], message.timestamp.year) == (EXPERIMENT_ENDED, "exp_1", 2026)
    shouted = {name.upper(): value for name, value in signed().items()}
    assert verify_webhook(BODY, shouted, SECRET, now=AT) == message


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of their specification's libraries (https://www.standardwebhooks.com)."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, secret)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


CHANGES: dict[str, Callable[[Headers], Headers]] = {
    "no header": lambda _: {},
    "no id": lambda h: {k: v for k, v in h.items() if k != "webhook-id"},
    "no timestamp": lambda h: {k: v for k, v in h.items() if k != "webhook-timestamp"},
    "no signature": lambda h: {k: v for k, v in h.items() if k != "webhook-signature"},
    "an empty signature": lambda h: h | {"webhook-signature": ""},
    "another id": lambda h: h | {"webhook-id": "msg_2"},
    "another time": lambda h: h | {"webhook-timestamp": str(AT + 1)},
    "a time in words": lambda h: h | {"webhook-timestamp": "now"},
    "a time of other digits": lambda h: h | {"webhook-timestamp": "\u0661\u0662"},
    "a time without end": lambda h: h | {"webhook-timestamp": "9" * 400},
    "a negative time": lambda h: h | {"webhook-timestamp": f"-{AT}"},
    "a fractional time": lambda h: h | {"webhook-timestamp": f"{AT}.5"},
    "another version": lambda h: h | {"webhook-signature": h["webhook-signature"].replace("v1,", "v2,")},
    "no version": lambda h: h | {"webhook-signature": h["webhook-signature"].removeprefix("v1,")},
    "half a signature": lambda h: h | {"webhook-signature": h["webhook-signature"][:20]},
    "a signature that is not ASCII": lambda h: h | {"webhook-signature": "v1,\u00e9"},
    "the signature of another secret": lambda _: signed(secret=OTHER),
    "the signature of another body": lambda _: signed(body=BODY + b" "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_message_that_was_changed_is_not_believed(change: str) -> None:
    with pytest.raises(UntrustedWebhook):
        verify_webhook(BODY, CHANGES[change](signed()), SECRET, now=AT)


@pytest.mark.parametrize("seconds", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1, 86_400])
def test_a_message_of_another_time_is_not_believed(seconds: float) -> None:
    with pytest.raises(UntrustedWebhook, match="sent again by somebody else"):
        verify_webhook(BODY, signed(), SECRET, now=AT + seconds)
    assert verify_webhook(BODY, signed(), SECRET, now=AT + seconds, tolerance_seconds=90_000)


def test_without_a_given_time_this_machine_s_is_taken() -> None:
    with pytest.raises(UntrustedWebhook, match="signed at"):
        verify_webhook(BODY, signed(at=1), SECRET)


def test_one_of_several_signatures_is_enough() -> None:
    own, other = signed(), signed(secret=OTHER)
    both = own | {"webhook-signature": f"v2,abc {other['webhook-signature']} {own['webhook-signature']}"}
    assert verify_webhook(BODY, both, SECRET, now=AT).data["phase"] == "failed"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"type": 1}', b'{"type": "x", "timestamp": "y"}'])
def test_a_signed_body_of_another_form_is_no_message(body: bytes) -> None:
    with pytest.raises(UntrustedWebhook, match="none that this release knows"):
        verify_webhook(body, signed(body=body), SECRET, now=AT)


def test_types_and_fields_that_come_later_are_read() -> None:
    body = json.dumps({"type": "later", "timestamp": "2027-01-01T00:00:00Z", "data": {"x": 1}, "more": []}).encode()
    assert verify_webhook(body, signed(body=body), SECRET, now=AT).type == "later"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_***", "no base64!"])
def test_a_secret_that_is_none_is_the_receivers_mistake(secret: str) -> None:
    with pytest.raises(ValueError, match="secret of a webhook"):
        verify_webhook(BODY, signed(), secret, now=AT)


def test_the_secret_may_be_given_without_its_prefix() -> None:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    by_hand = base64.b64encode(hmac.new(key, f"msg_1.{AT}.".encode() + BODY, hashlib.sha256).digest()).decode()
    headers = signed() | {"webhook-signature": f"v1,{by_hand}"}
    assert verify_webhook(BODY, headers, SECRET.removeprefix("whsec_"), now=AT)
