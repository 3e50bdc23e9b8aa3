"""What the sub-commands share: their options, how failures end the program, and following an experiment."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console
from touchstone_contracts.access import SCOPES
from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.problems import Invalid, in_words

from touchstone.account_tables import print_account
from touchstone.client import Client
from touchstone.documents import UnreadableDocument
from touchstone.problems import ExperimentFailed, ProblemError, UnknownStep, describe
from touchstone.progress import showing_progress
from touchstone.tables import console_for_output, print_counts, print_results, print_verdict

Server = Annotated[str, typer.Option(envvar="TOUCHSTONE_SERVER", help="Address of the server.")]
ExperimentId = Annotated[str, typer.Argument(help="An experiment's id, exp_...")]
Owner = Annotated[str, typer.Argument(metavar="ID", help="An experiment's id, exp_..., or upstream/NAME.")]
ArmName = Annotated[str, typer.Argument(help="An arm that trains.")]
TargetName = Annotated[str | None, typer.Option(help="Needed where the experiment has more than one target.")]
Watch = Annotated[bool, typer.Option("--watch", help="Wait for the end with live progress, then show the results.")]


def known_metric(name: str | None) -> str | None:
    if name is not None and name not in METRICS:
        raise typer.BadParameter(f"{name!r} is not {in_words(list(METRICS), 'or')}")
    return name


def known_scope(name: str) -> str:
    if name not in SCOPES:
        raise typer.BadParameter(f"{name!r} is not {in_words(SCOPES, 'or')}")
    return name


@contextmanager
def readable_failures() -> Iterator[None]:
    """Input that is at fault ends the program with one readable line and exit code 2."""
    try:
        yield
    except (UnreadableDocument, UnknownStep) as error:
        raise stop(str(error), 2) from error
    except ValidationError as error:
        fields = (": ".join([*map(str, field["loc"]), field["msg"]]) for field in error.errors())
        raise stop("; ".join(fields), 2) from error
    except Invalid as error:
        raise stop(describe(error.problem()), 2) from error


@contextmanager
def connected(server: str, key: str | None = None) -> Iterator[Client]:
    """A client whose failures end the program with one readable line and exit code 1 (2: the input is at fault)."""
    try:
        with readable_failures(), Client(server, key=key) as client:
            yield client
    except ProblemError as error:
        raise stop(describe(error.problem), 2 if error.problem.status < 500 else 1) from error
    except ExperimentFailed as error:
        raise stop(str(error), 1) from error
    except httpx.TransportError as error:
        raise stop(f"no answer from {server}: {error}", 1) from error


def stop(message: str, code: int) -> typer.Exit:
    Console(stderr=True).print(message, style="red", soft_wrap=True, markup=False, highlight=False)
    return typer.Exit(code)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """What an extra of the package installs: most installations only talk to a server."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise stop(f"{error.name} is missing: pip install 'touchstone-lab[{name}]'", 1) from error


def watch_to_the_end(client: Client, experiment: str) -> None:
    console = console_for_output()
    with showing_progress(console) as watcher:
        client.wait(experiment, watcher=watcher)
    results = client.results(experiment)
    print_account(console, client.account(experiment))
    print_results(console, results)
    print_counts(console, results)
    # Without two arms that train there is nothing to compare.
    if client.experiment(experiment).readable_spec.primary is not None:
        print_verdict(console, client.verdict(experiment))
    console.print(f"{client.server}/experiments/{experiment}")
