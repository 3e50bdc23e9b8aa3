"""Keys, the project and its audit log."""

from itertools import islice
from typing import Annotated, cast

import typer
from touchstone_contracts.access import Scope

from touchstone.access_tables import print_audit, print_keys, print_project
from touchstone.client import DEFAULT_SERVER
from touchstone.credentials import keep_key
from touchstone.terminal import Json, Server, connected, known_scope, show

app = typer.Typer()
keys = typer.Typer(help="API keys of your project, with an admin's key.", no_args_is_help=True)


@app.command()
def login(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Keep an API key for a server; it is asked for, and tried."""
    key = typer.prompt("API key", hide_input=True, err=True).strip()
    with connected(server, key) as client:
        project = client.project()
        file = keep_key(server, key)
    told = f"project {project.name}, scope {project.scope}; kept in {file}"
    kept = {"project": project.name, "scope": project.scope, "file": file}
    show(kept, json, lambda console: console.print(told, highlight=False, soft_wrap=True))


@app.command()
def project(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """The project of your key, its limits, and how much of them is used."""
    with connected(server) as client:
        found = client.project()
    show(found, json, lambda console: print_project(console, found))


@app.command()
def audit(
    count: Annotated[int, typer.Option(min=1, help="How many entries.")] = 30,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Who did what in your project, the newest first."""
    with connected(server) as client:
        found = list(islice(client.audit(), count))
    show(found, json, lambda console: print_audit(console, found))


@app.command()
def share(
    thing: Annotated[str, typer.Argument(help="An experiment's id, or targets/NAME, upstreams/NAME, encoders/NAME...")],
    stop: Annotated[bool, typer.Option("--stop", help="Share it no longer.")] = False,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Let every project read an experiment, or use what is registered. Only yours may change it."""
    with connected(server) as client:
        owner = thing if "/" in thing else client.find_id(thing)
        client.share(owner, shared=not stop)
    told = "not shared any more" if stop else "shared with every project"
    show({"id": owner, "shared": not stop}, json, lambda console: console.print(f"{owner}: {told}", highlight=False))


@keys.command("create")
def create_key(
    label: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[str, typer.Option(callback=known_scope, help="read, write or admin.")] = "read",
    days: Annotated[int | None, typer.Option(help="After which it expires.")] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """A new key, which is printed this once."""
    with connected(server) as client:
        created = client.create_key(label, cast("Scope", scope), days)
    show(created, json, lambda _: typer.echo(created.key))


@keys.command("list")
def list_keys(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """All keys, without the keys themselves."""
    with connected(server) as client:
        found = list(client.keys())
    show(found, json, lambda console: print_keys(console, found))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="From `touchstone keys list`.")],
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """From now on the key is refused."""
    with connected(server) as client:
        client.revoke_key(key_id)
    show({"id": key_id, "revoked": True}, json, lambda console: console.print(f"{key_id}: revoked", highlight=False))
