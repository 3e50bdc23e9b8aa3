"""What the sub-commands share: their options, output, how failures end the program, and following an experiment."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from rich.console import Console
from touchstone_contracts.access import SCOPES
from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.problems import Failure, in_words
from touchstone_contracts.views import ExperimentDetail

from touchstone.account_tables import print_account
from touchstone.adding import NotAdded
from touchstone.api import UPSTREAM
from touchstone.client import Client
from touchstone.completion import complete_experiment, complete_owner
from touchstone.documents import UnreadableDocument
from touchstone.errors import NotExported, TouchstoneError, UnknownName, UnreadableImage
from touchstone.extras import MissingExtra, extra
from touchstone.names import one_of
from touchstone.packing import NothingToPack
from touchstone.phases import ignore
from touchstone.plain_words import field_errors
from touchstone.problems import ProblemError, Unreachable, describe
from touchstone.progress import showing_progress
from touchstone.tables import console_for_output, print_counts, print_results, print_verdict

ANSWERS_WITHIN = 2.5
"""Seconds after which it is said that a server does not answer."""
BUSY_FOR = 30.0
"""Seconds for which one that takes connections is waited for after that."""
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""

Server = Annotated[str, typer.Option(envvar="TOUCHSTONE_SERVER", help="Address of the server.")]
ExperimentId = Annotated[
    str,
    typer.Argument(metavar="EXPERIMENT", help="Its id (or the beginning) or name.", autocompletion=complete_experiment),
]
Owner = Annotated[
    str,
    typer.Argument(metavar="ID", help="An experiment's id or name, or upstream/NAME.", autocompletion=complete_owner),
]
ArmName = Annotated[str, typer.Argument(help="An arm that trains.")]
TargetName = Annotated[str | None, typer.Option(help="Needed where the experiment has more than one target.")]
Watch = Annotated[bool, typer.Option("--watch", help="Wait for the end with live progress, then show the results.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for other programs.")]


class UnwritableFile(TouchstoneError):
    """What should be written cannot be, for a reason that is known before."""


INPUT_AT_FAULT = (
    UnreadableDocument,
    UnknownName,
    UnwritableFile,
    NothingToPack,
    NotAdded,
    NotExported,
    UnreadableImage,
)


def known_metric(name: str | None) -> str | None:
    if name is not None and name not in METRICS:
        raise typer.BadParameter(f"{name!r} is not {in_words(list(METRICS), 'or')}")
    return name


def known_scope(name: str) -> str:
    if name not in SCOPES:
        raise typer.BadParameter(f"{name!r} is not {in_words(SCOPES, 'or')}")
    return name


def show(found: Any, as_json: bool, print_it: Callable[[Console], object]) -> None:
    """The answer of a command: JSON for programs, otherwise what `print_it` prints."""
    if as_json:
        print_json(found)
    else:
        print_it(console_for_output())


def print_json(found: Any) -> None:
    sys.stdout.write(json.dumps(to_jsonable_python(found), indent=2, ensure_ascii=False) + "\n")


@contextmanager
def readable_failures() -> Iterator[None]:
    """Whatever a person can act on ends the program with a readable message and exit code 2 where the input is at
    fault, 1 otherwise."""
    try:
        yield
    except ValidationError as error:
        raise stop(field_errors(error), 2) from error
    except Failure as error:
        raise stop(describe(error.problem()), 2) from error
    except TouchstoneError as error:
        at_fault = error.problem.status < 500 if isinstance(error, ProblemError) else isinstance(error, INPUT_AT_FAULT)
        raise stop(str(error), 2 if at_fault else 1) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise stop(f"{error.filename or 'a file'}: {error.strerror or error}", 2) from error


@contextmanager
def connected(server: str, key: str | None = None) -> Iterator[Client]:
    """A client of a server that answers; failures end the program as `readable_failures` says."""
    with readable_failures(), _client(server, key) as client:
        _require_answer(client)
        yield client


def _require_answer(client: Client) -> None:
    """A machine with too much to do takes connections and lets them wait; one that is away takes none."""
    try:
        client.require_answer(ANSWERS_WITHIN)
    except Unreachable as error:
        if not isinstance(error.__cause__, httpx.ReadTimeout):
            raise
        _say_in_red(f"no answer from {client.server} for {ANSWERS_WITHIN} s; waiting for up to {BUSY_FOR:.0f} s more")
        client.require_answer(BUSY_FOR)


def _client(server: str, key: str | None) -> Client:
    if not server.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{server!r} is not an address such as http://127.0.0.1:8000", param_hint="--server")
    return Client(server, key=key)


def stop(message: str, code: int) -> typer.Exit:
    _say_in_red(message)
    return typer.Exit(code)


def _say_in_red(message: str) -> None:
    Console(stderr=True).print(message, style="red", soft_wrap=True, markup=False, highlight=False)


@contextmanager
def needing(name: str) -> Iterator[None]:
    """Around the imports of what an extra of the package installs: most installations only talk to a server."""
    try:
        with extra(name):
            yield
    except MissingExtra as error:
        raise stop(str(error), 1) from error


def find_owner(client: Client, text: str) -> str:
    """An experiment's id for its id or name; `upstream/NAME` as it is. Raises UnknownName."""
    return text if text.startswith(UPSTREAM) else client.find_id(text)


def found_experiment(
    client: Client, text: str, *, arms: Sequence[str] = (), target: str | None = None
) -> ExperimentDetail:
    """By its id or name. Raises NotFound; UnknownName, which suggests the nearest, also where the experiment has no
    such arm or target."""
    found = client.experiment(client.find_id(text))
    for arm in arms:
        one_of("arm", arm, [each.name for each in found.readable_spec.arms])
    if target is not None:
        one_of("target", target, found.readable_spec.targets)
    return found


def require_writable(path: Path) -> None:
    """Before work is done for a file that cannot be written. Raises UnwritableFile."""
    if not path.parent.is_dir():
        raise UnwritableFile(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise UnwritableFile(f"{path} cannot be written: it is a folder")
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise UnwritableFile(f"{path} cannot be written: {error.strerror or error}") from error
    if not existed:
        path.unlink()


@contextmanager
def goes_on(experiment: str) -> Iterator[None]:
    """Ctrl-C ends the command alone, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise stop(
            f"Experiment {experiment} goes on.\n"
            f"Follow it again: touchstone show {experiment} --watch\n"
            f"Stop it:         touchstone cancel {experiment}",
            INTERRUPTED,
        ) from None


def told_of(
    client: Client, experiment: str, found: Any, as_json: bool, print_it: Callable[[Console], object], *, watch: bool
) -> None:
    """What a command did to an experiment. With `watch` it is followed to its end, of which JSON is all there is."""
    if not watch:
        show(found, as_json, print_it)
        return
    with goes_on(experiment):
        if not as_json:
            print_it(console_for_output())
        watch_to_the_end(client, experiment, as_json)


def watch_to_the_end(client: Client, experiment: str, as_json: bool = False) -> None:
    """Follows an experiment, then prints what it found. Progress is shown on a terminal alone, never in a pipe."""
    screen = next((each for each in (Console(), Console(stderr=True)) if each.is_terminal), None)
    with goes_on(experiment):
        if screen is None or as_json:
            client.wait(experiment, watcher=ignore)
        else:
            with showing_progress(screen) as watcher:
                client.wait(experiment, watcher=watcher)
    results = client.results(experiment)
    # Without two arms that train there is nothing to compare.
    compares = client.experiment(experiment).readable_spec.primary is not None
    verdict = client.verdict(experiment) if compares else None
    if as_json:
        print_json({"experiment": experiment, "results": results, "verdict": verdict})
        return
    console = console_for_output()
    print_account(console, client.account(experiment))
    print_results(console, results)
    print_counts(console, results)
    if verdict is not None:
        print_verdict(console, verdict)
    console.print(f"{client.server}/experiments/{experiment}", soft_wrap=True)
