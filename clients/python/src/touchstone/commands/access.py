"""Keys, the project and its audit log."""

from itertools import islice
from typing import Annotated, cast

import typer
from touchstone_contracts.access import Scope

from touchstone.access_tables import print_audit, print_keys, print_project
from touchstone.client import DEFAULT_SERVER
from touchstone.credentials import keep_key
from touchstone.tables import console_for_output
from touchstone.terminal import Server, connected, known_scope

app = typer.Typer()
keys = typer.Typer(help="API keys of your project, with an admin's key.", no_args_is_help=True)


@app.command()
def login(server: Server = DEFAULT_SERVER) -> None:
    """Keep an API key for a server; it is asked for, and tried."""
    key = typer.prompt("API key", hide_input=True).strip()
    with connected(server, key) as client:
        project = client.project()
    file = keep_key(server, key)
    console_for_output().print(f"project {project.name}, scope {project.scope}; kept in {file}")


@app.command()
def project(server: Server = DEFAULT_SERVER) -> None:
    """The project of your key, its limits, and how much of them is used."""
    with connected(server) as client:
        print_project(console_for_output(), client.project())


@app.command()
def audit(
    count: Annotated[int, typer.Option(min=1, help="How many entries.")] = 30, server: Server = DEFAULT_SERVER
) -> None:
    """Who did what in your project, the newest first."""
    with connected(server) as client:
        print_audit(console_for_output(), list(islice(client.audit(), count)))


@app.command()
def share(
    thing: Annotated[str, typer.Argument(help="An experiment's id, or targets/NAME, upstreams/NAME, encoders/NAME...")],
    stop: Annotated[bool, typer.Option("--stop", help="Share it no longer.")] = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Let every project read an experiment, or use what is registered. Only yours may change it."""
    with connected(server) as client:
        client.share(thing, shared=not stop)


@keys.command("create")
def create_key(
    label: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[str, typer.Option(callback=known_scope, help="read, write or admin.")] = "read",
    days: Annotated[int | None, typer.Option(help="After which it expires.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """A new key, which is printed this once."""
    with connected(server) as client:
        typer.echo(client.create_key(label, cast("Scope", scope), days).key)


@keys.command("list")
def list_keys(server: Server = DEFAULT_SERVER) -> None:
    """All keys, without the keys themselves."""
    with connected(server) as client:
        print_keys(console_for_output(), list(client.keys()))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="From `touchstone keys list`.")],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Nobody gets in with it from now on."""
    with connected(server) as client:
        client.revoke_key(key_id)
