"""Steps one by one, and what came in of sources."""

from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from touchstone_contracts.views import ExperimentAccount, SourceAccount, StepDetail, StepState, StepView

from touchstone.account_tables import print_account, print_sources
from touchstone.client import DEFAULT_SERVER, UPSTREAM, Client
from touchstone.problems import describe
from touchstone.step_tables import print_log, print_steps, the_one_step
from touchstone.terminal import Json, Owner, Server, connected, find_owner, show

app = typer.Typer()


@app.command()
def steps(
    owner: Owner,
    state: Annotated[StepState | None, typer.Option(help="Only steps in this state.")] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """The steps of an experiment or of an upstream's ingest, in an order in which they can be done."""
    with connected(server) as client:
        found = list(client.steps(find_owner(client, owner), state=state))
    show(found, json, lambda console: print_steps(console, found))


@app.command()
def log(
    owner: Owner,
    step: Annotated[str | None, typer.Argument(help="A step's id or its beginning. Left out: all failed.")] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Why a step failed: its problem and the end of the worker's log."""
    with connected(server) as client:
        owner = find_owner(client, owner)
        asked = [step_of(client, owner, step)] if step is not None else list(client.steps(owner, state="failed"))
        found = [client.step(owner, each.id) for each in asked]
        problems = [] if found else _problems(client, owner)
    show(found, json, lambda console: _print_logs(console, owner, found, problems))


def _print_logs(console: Console, owner: str, found: list[StepDetail], problems: list[str]) -> None:
    if not found:
        console.print(f"no step of {owner} has failed", highlight=False)
    for problem in problems:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    for each in found:
        print_log(console, each)


def _problems(client: Client, owner: str) -> list[str]:
    """Those of an experiment that are not its steps': the ingest of its upstream may have failed."""
    return [] if owner.startswith(UPSTREAM) else [describe(each) for each in client.experiment(owner).problems]


@app.command()
def account(
    owner: Annotated[
        str,
        typer.Argument(metavar="ID", help="An experiment's id or name, upstream/NAME, target/NAME, dataset/NAME."),
    ],
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """How many images of a source were seen, taken and refused at ingest, and why."""
    with connected(server) as client:
        found = _account(client, owner)
    if isinstance(found, ExperimentAccount):
        show(found, json, lambda console: print_account(console, found))
    else:
        show(found, json, lambda console: print_sources(console, found))


def _account(client: Client, owner: str) -> ExperimentAccount | list[SourceAccount]:
    kind, _, name = owner.partition("/")
    if kind == "upstream":
        found = client.upstream(name).account
        return [found] if found else []
    if kind == "target":
        return list(client.target_account(name).splits)
    if kind == "dataset":
        return [client.dataset_account(name)]
    return client.account(client.find_id(owner))


def step_of(client: Client, owner: str, prefix: str) -> StepView:
    """Raises UnknownStep."""
    return the_one_step(owner, prefix, list(islice(client.steps(owner, prefix=prefix), 2)))
