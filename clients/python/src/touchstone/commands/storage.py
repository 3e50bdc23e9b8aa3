"""What the installation holds, and what was taken down."""

import typer

from touchstone.client import DEFAULT_SERVER
from touchstone.storage_tables import print_storage
from touchstone.tables import console_for_output
from touchstone.takedown_tables import print_takedowns
from touchstone.terminal import Server, connected

app = typer.Typer()


@app.command()
def storage(server: Server = DEFAULT_SERVER) -> None:
    """How many bytes the results of all experiments and upstreams hold, those with most of their own first."""
    with connected(server) as client:
        print_storage(console_for_output(), client.storage())


@app.command()
def takedowns(server: Server = DEFAULT_SERVER) -> None:
    """Images that no step uses any more, why, and the experiments whose results were computed with them."""
    with connected(server) as client:
        print_takedowns(console_for_output(), list(client.takedowns()))
