"""Steps one by one, and what came in of sources."""

from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from touchstone_contracts.views import StepState, StepView

from touchstone.account_tables import print_account, print_sources
from touchstone.client import DEFAULT_SERVER, UPSTREAM, Client
from touchstone.problems import describe
from touchstone.step_tables import print_log, print_steps, the_one_step
from touchstone.tables import console_for_output
from touchstone.terminal import Owner, Server, connected

app = typer.Typer()


@app.command()
def steps(
    owner: Owner,
    state: Annotated[StepState | None, typer.Option(help="Only steps in this state.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """The steps of an experiment or of an upstream's ingest, in an order in which they can be done."""
    with connected(server) as client:
        print_steps(console_for_output(), client.steps(owner, state=state))


@app.command()
def log(
    owner: Owner,
    step: Annotated[str | None, typer.Argument(help="A step's id or its beginning. Left out: all failed.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Why a step failed: its problem and the end of the worker's log."""
    console = console_for_output()
    with connected(server) as client:
        found = [step_of(client, owner, step)] if step is not None else list(client.steps(owner, state="failed"))
        if not found:
            console.print(f"no step of {owner} has failed", highlight=False)
            _print_problems(console, client, owner)
        for each in found:
            print_log(console, client.step(owner, each.id))


def _print_problems(console: Console, client: Client, owner: str) -> None:
    """Those of an experiment that are not its steps': the ingest of its upstream may have failed."""
    for problem in () if owner.startswith(UPSTREAM) else client.experiment(owner).problems:
        console.print(describe(problem), style="red", markup=False, soft_wrap=True)


@app.command()
def account(
    owner: Annotated[
        str, typer.Argument(metavar="ID", help="An experiment's id, exp_..., upstream/NAME, target/NAME, dataset/NAME.")
    ],
    server: Server = DEFAULT_SERVER,
) -> None:
    """How many images of a source were seen, taken and refused at ingest, and why."""
    console = console_for_output()
    with connected(server) as client:
        kind, _, name = owner.partition("/")
        if kind == "upstream":
            found = client.upstream(name).account
            print_sources(console, [found] if found else [])
        elif kind == "target":
            print_sources(console, client.target_account(name).splits)
        elif kind == "dataset":
            print_sources(console, [client.dataset_account(name)])
        else:
            print_account(console, client.account(owner))


def step_of(client: Client, owner: str, prefix: str) -> StepView:
    return the_one_step(owner, prefix, list(islice(client.steps(owner, prefix=prefix), 2)))
