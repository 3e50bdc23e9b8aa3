"""Addresses that are told when experiments end."""

from itertools import islice
from typing import Annotated

import typer
from rich.console import Console

from touchstone.client import DEFAULT_SERVER
from touchstone.terminal import Json, Server, connected, show
from touchstone.webhook_tables import print_deliveries, print_webhooks

app = typer.Typer(help="Addresses that are told when experiments of your project end.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="From `touchstone webhooks list`.")]


@app.command("list")
def list_webhooks(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """All webhooks, the oldest first."""
    with connected(server) as client:
        found = list(client.webhooks())
    show(found, json, lambda console: print_webhooks(console, found))


@app.command("add")
def add_webhook(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://... that is sent a POST.")],
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Register an address; prints its id and, this once, the secret that messages are signed with. Admins only."""
    with connected(server) as client:
        added = client.add_webhook(url)
    show(added, json, lambda _: typer.echo("\n".join(filter(None, (added.id, added.secret)))))
    if added.secret is None:
        Console(stderr=True).print("The address was registered before; its secret is not told again.", highlight=False)


@app.command("remove")
def remove_webhook(webhook: WebhookId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Tell an address nothing more, and forget its deliveries. Admins only."""
    with connected(server) as client:
        client.remove_webhook(webhook)
    show({"id": webhook, "removed": True}, json, lambda _: typer.echo(f"{webhook}: removed"))


@app.command("test")
def send_test_message(webhook: WebhookId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Send a test message; `deliveries` says what became of it."""
    with connected(server) as client:
        delivery = client.test_webhook(webhook)
    show(delivery, json, lambda _: typer.echo(f"{delivery.id}: {delivery.state}"))


@app.command("deliveries")
def list_deliveries(
    webhook: WebhookId,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """What became of the last messages, the newest first."""
    with connected(server) as client:
        found = list(islice(client.webhook_deliveries(webhook), count))
    show(found, json, lambda console: print_deliveries(console, found))


@app.command("retry")
def retry_delivery(
    webhook: WebhookId,
    delivery: Annotated[str, typer.Argument(help="From `touchstone webhooks deliveries`.")],
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Send a message again, under the same id."""
    with connected(server) as client:
        again = client.retry_delivery(webhook, delivery)
    show(again, json, lambda _: typer.echo(f"{again.id}: {again.state}"))
