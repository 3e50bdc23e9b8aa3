"""The `touchstone` command: the REST API for people at a terminal. Joins the sub-commands of `touchstone.commands`."""

import typer

from touchstone.commands import access, experiments, findings, judging, steps, storage
from touchstone.terminal import Server, connected, readable_failures

app = typer.Typer(help="Compare training images by experiment.", no_args_is_help=True, pretty_exceptions_enable=False)
for part in (experiments, steps, findings, judging, storage, access):
    app.add_typer(part.app)
app.add_typer(access.keys, name="keys")

__all__ = ["Server", "app", "connected", "readable_failures"]
