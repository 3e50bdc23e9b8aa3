"""Secrets of webhooks are stored encrypted (Fernet: AES-128-CBC with HMAC-SHA256) with a key from the settings.

Several keys may be set while one replaces another: the first encrypts, and each decrypts."""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr
from sqlalchemy import select
from touchstone_contracts.problems import Invalid

from touchstone_store.database import Store
from touchstone_store.settings import split_keys
from touchstone_store.tables import WebhookRow

PLAIN = "whsec_"
"""How a secret begins. Releases before migration 0011 stored them so."""


class NoWebhookKey(Invalid):
    code = "no_webhook_key"
    status = 409
    title = "Webhooks are turned off"


class UnknownWebhookKey(Exception):
    """A stored secret cannot be decrypted with the keys of the settings."""


class WebhookKeys:
    """`setting`: TOUCHSTONE_WEBHOOK_KEY."""

    def __init__(self, setting: SecretStr | None) -> None:
        self._keys = [_fernet(key) for key in split_keys(setting)]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def encrypt(self, secret: str) -> str:
        """Raises NoWebhookKey."""
        if not self._keys:
            raise NoWebhookKey("this installation has no key to encrypt secrets with: set TOUCHSTONE_WEBHOOK_KEY")
        return self._keys[0].encrypt(secret.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Raises UnknownWebhookKey."""
        if not self._keys:
            raise UnknownWebhookKey("TOUCHSTONE_WEBHOOK_KEY is not set, so the secret cannot be decrypted")
        try:
            return MultiFernet(self._keys).decrypt(stored).decode()
        except InvalidToken as error:
            raise UnknownWebhookKey(
                "the secret was encrypted with a key that TOUCHSTONE_WEBHOOK_KEY does not hold"
            ) from error

    def renewed(self, stored: str) -> str | None:
        """The same secret under the first key; None where it is so already, or cannot be decrypted."""
        if stored.startswith(PLAIN):
            return self.encrypt(stored)
        try:
            self._keys[0].decrypt(stored)
        except InvalidToken:
            try:
                return MultiFernet(self._keys).rotate(stored).decode()
            except InvalidToken:
                return None
        return None


def renew_stored_secrets(store: Store, keys: WebhookKeys) -> int:
    """Encrypts what an earlier release stored as it is, and what stands under a key that is being replaced; how many
    that were. Nothing without a key. Raises Transient."""
    if not keys:
        return 0
    with store.write() as session:
        renewed = {row: keys.renewed(row.secret) for row in session.scalars(select(WebhookRow).with_for_update())}
        changed = {row: secret for row, secret in renewed.items() if secret is not None}
        for row, secret in changed.items():
            row.secret = secret
    return len(changed)


def _fernet(key: str) -> Fernet:
    """From a key of any letters: it is long and random, so it needs no slow hash."""
    derived = HKDF(SHA256(), length=32, salt=None, info=b"touchstone: secrets of webhooks").derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
