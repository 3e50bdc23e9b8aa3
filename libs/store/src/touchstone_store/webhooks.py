"""Webhooks in SQL: who is told that an experiment of a project ended, and how far that is.

A delivery is written in the transaction in which the experiment ends, so none is forgotten. Whoever sends it claims it
first: the claim runs out, so that what a process held when it died is sent again, under the same id."""

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session
from touchstone_contracts.problems import NotFound
from touchstone_contracts.webhooks import EXPERIMENT_ENDED, WEBHOOK_TEST, DeliveryState, DeliveryView, WebhookView

from touchstone_store.tables import PlanRow, WebhookDeliveryRow, WebhookRow

MOST_ATTEMPTS = 14
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=2)
"""Fourteen attempts, each pause twice as long as the one before, last seven hours."""
CLAIM = timedelta(seconds=60)
"""Longer than any attempt."""
KEPT = timedelta(days=30)
"""Deliveries that are over."""
NO_EXPERIMENT = ""
"""What a test message is about."""
_EXPERIMENTS = "exp_"


@dataclass(frozen=True)
class Claimed:
    """What is to be sent now."""

    id: str
    url: str
    secret: str
    """Encrypted; see webhook_keys.py."""
    body: str
    attempt: int


def register_webhook(session: Session, project: str, url: str, secret: str, now: datetime) -> tuple[WebhookRow, bool]:
    """The project's webhook of an address, and whether it is new. `secret`: encrypted; of a new one."""
    found = session.scalar(select(WebhookRow).where(WebhookRow.project_id == project, WebhookRow.url == url))
    if found is not None:
        return found, False
    row = WebhookRow(id=_new_id("hook_"), project_id=project, url=url, secret=secret, created_at=now)
    session.add(row)
    session.flush()
    return row, True


def require_webhook(session: Session, project: str, webhook: str) -> WebhookRow:
    """Raises NotFound, also for another project's."""
    row = session.get(WebhookRow, webhook)
    if row is None or row.project_id != project:
        raise NotFound(f"no webhook {webhook!r}; GET /v1/webhooks lists those that there are")
    return row


def list_webhooks(session: Session, project: str, *, after: str | None, limit: int) -> list[WebhookView]:
    """The oldest first."""
    query = select(WebhookRow).where(WebhookRow.project_id == project).order_by(WebhookRow.id).limit(limit)
    if after is not None:
        query = query.where(WebhookRow.id > after)
    return [webhook_view(row) for row in session.scalars(query)]


def webhook_view(row: WebhookRow) -> WebhookView:
    return WebhookView(id=row.id, url=row.url, created_at=row.created_at)


def remove_webhook(session: Session, project: str, webhook: str) -> None:
    """With its deliveries. Raises NotFound."""
    row = require_webhook(session, project, webhook)
    session.execute(delete(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == webhook))
    session.delete(row)


def tell_end(session: Session, plan: PlanRow, steps: dict[str, int], now: datetime) -> None:
    """Of a plan that has just ended, to webhooks of its project; those of upstreams are no experiments."""
    if not plan.id.startswith(_EXPERIMENTS):
        return
    path = f"/v1/experiments/{plan.id}"
    data = {"experiment": plan.id, "phase": plan.phase, "steps": steps, "links": {"self": path}}
    of_project = select(WebhookRow.id).where(WebhookRow.project_id == plan.project_id)
    for webhook in session.scalars(of_project.order_by(WebhookRow.id)):
        session.add(_delivery(webhook, EXPERIMENT_ENDED, data, plan.id, now))


def send_test(session: Session, project: str, webhook: str, now: datetime) -> DeliveryView:
    """A message that says nothing but that it is a test; the one before where that is still to be sent. Raises
    NotFound."""
    require_webhook(session, project, webhook)
    waiting = select(WebhookDeliveryRow).where(
        WebhookDeliveryRow.webhook_id == webhook,
        WebhookDeliveryRow.state == "pending",
        WebhookDeliveryRow.experiment == NO_EXPERIMENT,
    )
    row = session.scalars(waiting.limit(1)).first()
    if row is None:
        row = _delivery(webhook, WEBHOOK_TEST, {"webhook": webhook}, NO_EXPERIMENT, now)
        session.add(row)
        session.flush()
    return _view(row)


def _delivery(
    webhook: str, kind: str, data: Mapping[str, object], experiment: str, now: datetime
) -> WebhookDeliveryRow:
    return WebhookDeliveryRow(
        id=_new_id("msg_"),
        webhook_id=webhook,
        experiment=experiment,
        body=json.dumps({"type": kind, "timestamp": now.isoformat(), "data": data}),
        state="pending",
        attempts=0,
        next_at=now,
        created_at=now,
    )


def list_deliveries(
    session: Session, project: str, webhook: str, *, before: str | None, limit: int
) -> list[DeliveryView]:
    """Newest first. Raises NotFound."""
    require_webhook(session, project, webhook)
    query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == webhook)
    if before is not None:
        query = query.where(WebhookDeliveryRow.id < before)
    return [_view(row) for row in session.scalars(query.order_by(WebhookDeliveryRow.id.desc()).limit(limit))]


def retry_delivery(session: Session, project: str, webhook: str, delivery: str, now: datetime) -> DeliveryView:
    """It is sent again, with all its attempts, under its id. Raises NotFound."""
    require_webhook(session, project, webhook)
    row = session.get(WebhookDeliveryRow, delivery, with_for_update=True)
    if row is None or row.webhook_id != webhook:
        raise NotFound(f"webhook {webhook!r} has no delivery {delivery!r}")
    row.state, row.attempts, row.next_at = "pending", 0, now
    session.flush()
    return _view(row)


def due_deliveries(session: Session, now: datetime, limit: int) -> list[str]:
    due = select(WebhookDeliveryRow.id).where(WebhookDeliveryRow.state == "pending", WebhookDeliveryRow.next_at <= now)
    return list(session.scalars(due.order_by(WebhookDeliveryRow.next_at).limit(limit)))


def claim_delivery(session: Session, delivery: str, now: datetime) -> Claimed | None:
    """None where somebody else was faster, or it is gone."""
    mine = (
        update(WebhookDeliveryRow)
        .where(
            WebhookDeliveryRow.id == delivery, WebhookDeliveryRow.state == "pending", WebhookDeliveryRow.next_at <= now
        )
        .values(next_at=now + CLAIM, attempts=WebhookDeliveryRow.attempts + 1)
        .returning(WebhookDeliveryRow.webhook_id, WebhookDeliveryRow.body, WebhookDeliveryRow.attempts)
    )
    found = session.execute(mine).one_or_none()
    if found is None:
        return None
    webhook = session.get_one(WebhookRow, found.webhook_id)
    return Claimed(delivery, webhook.url, webhook.secret, found.body, found.attempts)


def settle_delivery(
    session: Session, claimed: Claimed, now: datetime, *, status: int | None, problem: str | None, final: bool = False
) -> DeliveryState | None:
    """What an attempt came to. `problem`: why it was not accepted; `final`: trying again cannot help. None where the
    delivery is gone, or somebody else has it by now."""
    row = session.get(WebhookDeliveryRow, claimed.id, with_for_update=True)
    if row is None or row.attempts != claimed.attempt or row.state != "pending":
        return None
    row.status, row.problem = status, None if problem is None else problem[:200]
    if problem is None:
        row.state, row.delivered_at, row.next_at = "delivered", now, None
    elif final or row.attempts >= MOST_ATTEMPTS:
        row.state, row.next_at = "failed", None
    else:
        row.next_at = now + min(FIRST_PAUSE * 2 ** (row.attempts - 1), LONGEST_PAUSE)
    return row.state  # type: ignore[return-value]  # the column holds nothing else


def forget_old_deliveries(session: Session, now: datetime) -> None:
    over = WebhookDeliveryRow.state != "pending"
    session.execute(delete(WebhookDeliveryRow).where(over, WebhookDeliveryRow.created_at < now - KEPT))


def _view(row: WebhookDeliveryRow) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        experiment=row.experiment,
        state=row.state,  # type: ignore[arg-type]  # the column holds nothing else
        attempts=row.attempts,
        status=row.status,
        problem=row.problem,
        created_at=row.created_at,
        next_attempt_at=row.next_at,
        delivered_at=row.delivered_at,
    )


def new_secret() -> str:
    """As libraries for Standard Webhooks read it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _new_id(prefix: str) -> str:
    """Sorts by time of creation."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"
