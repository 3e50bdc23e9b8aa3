"""Webhooks and what became of their messages, at the terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from touchstone_contracts.webhooks import DeliveryView, WebhookView


def print_webhooks(console: Console, webhooks: Iterable[WebhookView]) -> None:
    table = Table()
    for heading in ("id", "address", "added (UTC)"):
        table.add_column(heading, no_wrap=heading == "id", overflow="fold")
    for webhook in webhooks:
        table.add_row(webhook.id, escape(webhook.url), f"{webhook.created_at:%Y-%m-%d %H:%M}")
    console.print(table)


def print_deliveries(console: Console, deliveries: Iterable[DeliveryView]) -> None:
    table = Table()
    for heading in ("id", "about", "written (UTC)", "state", "attempts", "answer"):
        table.add_column(heading, no_wrap=heading == "id", overflow="fold")
    for each in deliveries:
        written = f"{each.created_at:%Y-%m-%d %H:%M:%S}"
        row = (each.id, each.experiment or "a test", written, each.state, str(each.attempts), answer_of(each))
        table.add_row(*map(escape, row))
    console.print(table)


def answer_of(delivery: DeliveryView) -> str:
    """What the receiver answered last, and why that was not accepted."""
    status = "" if delivery.status is None else str(delivery.status)
    return ": ".join(part for part in (status, delivery.problem) if part)
