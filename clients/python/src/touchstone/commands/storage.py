"""What the installation holds, and what was taken down."""

import typer

from touchstone.client import DEFAULT_SERVER
from touchstone.storage_tables import print_storage
from touchstone.takedown_tables import print_takedowns
from touchstone.terminal import Json, Server, connected, show

app = typer.Typer()


@app.command()
def storage(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """How many bytes the results of all experiments and upstreams hold, those with most of their own first."""
    with connected(server) as client:
        found = client.storage()
    show(found, json, lambda console: print_storage(console, found))


@app.command()
def takedowns(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Images that no step uses any more, why, and the experiments whose results were computed with them."""
    with connected(server) as client:
        found = list(client.takedowns())
    show(found, json, lambda console: print_takedowns(console, found))
