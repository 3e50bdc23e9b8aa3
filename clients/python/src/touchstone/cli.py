"""The `touchstone` command: the REST API for people at a terminal. Joins the sub-commands of `touchstone.commands`."""

from typing import Annotated

import typer

from touchstone.commands import (
    access,
    adding,
    experiments,
    export,
    findings,
    judging,
    registered,
    report,
    searching,
    steps,
    storage,
    webhooks,
)
from touchstone.plain_options import PlainGroup
from touchstone.terminal import Server, connected, readable_failures
from touchstone.version import VERSION

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, pretty_exceptions_enable=False)
for part in (experiments, registered, searching, steps, findings, report, export, judging, storage, access):
    app.add_typer(part.app)
app.add_typer(access.keys, name="keys")
app.add_typer(adding.app, name="add")
app.add_typer(webhooks.app, name="webhooks")


def print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"touchstone-lab {VERSION}")
        raise typer.Exit


@app.callback()
def touchstone(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Compare training images by experiment."""


__all__ = ["Server", "app", "connected", "readable_failures"]
