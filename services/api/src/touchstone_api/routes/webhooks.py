"""/v1/webhooks: addresses that are told when experiments of the project end, and what became of each message."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from touchstone_contracts.identity import identity
from touchstone_contracts.webhooks import (
    DeliveryPage,
    DeliveryView,
    WebhookPage,
    WebhookRegistered,
    WebhookSpec,
    WebhookView,
)
from touchstone_store.contention import created_or_found
from touchstone_store.idempotency import remember
from touchstone_store.webhook_keys import WebhookKeys
from touchstone_store.webhooks import (
    list_deliveries,
    list_webhooks,
    new_secret,
    register_webhook,
    remove_webhook,
    require_webhook,
    retry_delivery,
    send_test,
    webhook_view,
)

from touchstone_api.access.authorise import BY_ADMINS, PrincipalHere
from touchstone_api.bootstrap import Services
from touchstone_api.cursors import PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.parameters import IdempotencyKey
from touchstone_api.problems import documented

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

Limit = Annotated[int, Query(ge=1, le=200)]
Spec = Annotated[
    WebhookSpec, Body(openapi_examples={"webhook": {"value": {"url": "https://hooks.example.org/touchstone"}}})
]


@router.post(
    "",
    status_code=201,
    responses={200: {"model": WebhookRegistered}, **documented(400, 409, 413, 422, 503)},
    openapi_extra=BY_ADMINS,
)
def create_webhook(
    spec: Spec,
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    idempotency_key: IdempotencyKey = None,
) -> WebhookRegistered:
    """Whenever an experiment of the project ends (succeeds, fails or is cancelled), the address is sent a POST of
    `type`, `timestamp` and `data`. It is signed, as Standard Webhooks say, with the secret that only this answer tells:
    `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`. Anything but
    2xx is tried again for seven hours, under the same `webhook-id`. The same address again answers 200, without the
    secret."""
    registered, created = _register(services, principal.project, spec, idempotency_key)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/webhooks/{registered.id}"
    return registered


def _register(services: Services, project: str, spec: WebhookSpec, key: str | None) -> tuple[WebhookRegistered, bool]:
    now, secret = datetime.now(UTC), new_secret()
    encrypted = WebhookKeys(services.settings.webhook_key).encrypt(secret)

    def attempt() -> tuple[WebhookRegistered, bool]:
        with services.store.write() as session:
            if key:
                remember(session, project, key, identity({"webhook": spec.url}), now)
            row, created = register_webhook(session, project, spec.url, encrypted, now)
            return WebhookRegistered(**dict(webhook_view(row)), secret=secret if created else None), created

    return created_or_found(attempt, "the same is being registered by others")


@router.get("", responses=documented(422, 503))
def get_webhooks(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> WebhookPage:
    """Without their secrets."""
    with services.store.read() as session:
        found = list_webhooks(session, principal.project, after=position.after, limit=limit + 1)
    page, following = position.cut(found, limit, lambda webhook: webhook.id)
    return WebhookPage(items=tuple(page), next_cursor=following)


@router.get("/{webhook}", responses=documented(404, 503))
def get_webhook(webhook: str, principal: PrincipalHere, services: ServicesHere) -> WebhookView:
    with services.store.read() as session:
        return webhook_view(require_webhook(session, principal.project, webhook))


@router.delete("/{webhook}", status_code=204, responses=documented(404, 503), openapi_extra=BY_ADMINS)
def delete_webhook(webhook: str, principal: PrincipalHere, services: ServicesHere) -> None:
    """Its address is told nothing more, and its deliveries are forgotten."""
    with services.store.write() as session:
        remove_webhook(session, principal.project, webhook)


@router.post("/{webhook}/test", responses=documented(404, 503))
def send_test_message(webhook: str, principal: PrincipalHere, services: ServicesHere) -> DeliveryView:
    """Its address is sent a message of the type `webhook.test`, signed as any other; `deliveries` says what became of
    it. A test that is still to be delivered is answered again instead of another."""
    with services.store.write() as session:
        return send_test(session, principal.project, webhook, datetime.now(UTC))


@router.get("/{webhook}/deliveries", responses=documented(404, 422, 503))
def get_deliveries(
    webhook: str, principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> DeliveryPage:
    """Newest first; those that are over are kept for thirty days."""
    with services.store.read() as session:
        found = list_deliveries(session, principal.project, webhook, before=position.after, limit=limit + 1)
    page, following = position.cut(found, limit, lambda delivery: delivery.id)
    return DeliveryPage(items=tuple(page), next_cursor=following)


@router.post("/{webhook}/deliveries/{delivery}/retry", responses=documented(404, 503))
def repeat_delivery(webhook: str, delivery: str, principal: PrincipalHere, services: ServicesHere) -> DeliveryView:
    """It is sent again, whatever became of it, under the same id."""
    with services.store.write() as session:
        return retry_delivery(session, principal.project, webhook, delivery, datetime.now(UTC))
