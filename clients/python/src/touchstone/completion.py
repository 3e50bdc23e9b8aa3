"""What the shell offers when Tab is pressed: ids and names that the server has. A server that is slow or away, or that
refuses, offers nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import typer

from touchstone.api import UPSTREAM
from touchstone.client import DEFAULT_SERVER, Client
from touchstone.errors import TouchstoneError
from touchstone.names import ids_and_names

MOST_OFFERED = 200
PATIENCE = 2.0
"""Seconds."""

Offers = list[tuple[str, str]]
"""(what is typed, what it is)."""


def complete_experiment(ctx: typer.Context, incomplete: str) -> Offers:
    """Ids and names of experiments, the newest first."""
    with _asked(ctx) as client:
        newest = ((each.id, each.name) for each in islice(client.experiments(), MOST_OFFERED))
        return list(ids_and_names(newest, incomplete))
    return []


def complete_owner(ctx: typer.Context, incomplete: str) -> Offers:
    """As complete_experiment, and upstreams."""
    offers: Offers = []
    with _asked(ctx) as client:
        for upstream in client.upstreams():
            if (name := f"{UPSTREAM}{upstream.name}").startswith(incomplete):
                offers.append((name, upstream.phase))
    return [*complete_experiment(ctx, incomplete), *offers]


def complete_upstream(ctx: typer.Context, incomplete: str) -> Offers:
    """Names of upstreams."""
    with _asked(ctx) as client:
        found = islice(client.upstreams(), MOST_OFFERED)
        return [(each.name, each.phase) for each in found if each.name.startswith(incomplete)]
    return []


@contextmanager
def _asked(ctx: typer.Context) -> Iterator[Client]:
    server = ctx.params.get("server") or os.environ.get("TOUCHSTONE_SERVER") or DEFAULT_SERVER
    try:
        with Client(server, retries=0, timeout=PATIENCE) as client:
            yield client
    except (TouchstoneError, OSError):
        return
