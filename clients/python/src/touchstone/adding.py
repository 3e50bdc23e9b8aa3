"""`touchstone add`: an upstream, a target or a data set from a folder of this machine or from a location elsewhere."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from touchstone_contracts.catalogue import Origin
from touchstone_contracts.class_lists import display_name, read_class_list
from touchstone_contracts.locations import TargetLayout, UpstreamLayout
from touchstone_contracts.problems import Invalid
from touchstone_contracts.views import DescribedKind, DescriptionView

from touchstone.client import Client
from touchstone.documents import UnreadableDocument
from touchstone.errors import TouchstoneError
from touchstone.packing import packed
from touchstone.problems import describe

_LOCATION = re.compile(r"library:|[a-z][a-z0-9]*://")
_REVISION = re.compile(r"@[^/]*")
_NO_NAME = re.compile(r"[^a-z0-9._-]+")
MOST_NAME_CHARACTERS = 64

Tell = Callable[[DescriptionView], None]


class NotAdded(TouchstoneError):
    """Why the location came to nothing, in the worker's words."""


def is_location(source: str) -> bool:
    return _LOCATION.match(source) is not None


def name_of(source: str) -> str:
    """From the last part of a path or location that is no pattern. Raises UnreadableDocument where none is a name."""
    plain = _REVISION.sub("", source) if is_location(source) else str(Path(source).expanduser().absolute())
    parts = [part for part in re.split(r"[/:]+", plain) if part and "*" not in part]
    last = re.sub(r"\.(tar|parquet|zip)$", "", parts[-1].lower()) if parts else ""
    name = _NO_NAME.sub("-", last).strip("-._")[:MOST_NAME_CHARACTERS]
    if not name:
        raise UnreadableDocument(f"{source!r} gives no name: say one with --name")
    return name


def locations_of(client: Client, sources: Sequence[str], console: Console) -> list[str]:
    """Uploads those of this machine. Raises NothingToPack, before anything is sent."""
    local = {source: packed(Path(source)) for source in sources if not is_location(source)}
    found = []
    for source in sources:
        if source not in local:
            found.append(source)
            continue
        with _showing_upload(console, source, local[source].size) as tell:
            found.append(client.upload(packed(Path(source), tell)).location)
    return found


def add(client: Client, kind: DescribedKind, document: dict[str, Any], console: Console) -> DescriptionView:
    """Asks for it and waits until it is registered. Raises NotAdded, ProblemError."""
    client.add(kind, document)
    shown = ""

    def tell(view: DescriptionView) -> None:
        nonlocal shown
        words = f"looking at the files: {view.done} of {view.total} done" if view.total else "waiting for a worker"
        outage = (
            "; ".join(describe(problem) for problem in view.problems) if view.phase in ("queued", "running") else ""
        )
        line = f"{words}; {outage}" if outage else words
        if line != shown and view.phase in ("queued", "running"):
            console.print(line, highlight=False, markup=False)
            shown = line

    view = client.wait_for_description(kind, document["name"], watcher=tell)
    for note in view.notes:
        console.print(f"left out or odd: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if view.phase != "succeeded":
        reasons = "; ".join(describe(problem) for problem in view.problems) or view.phase
        raise NotAdded(f"{kind} {view.name} was not added: {reasons}")
    return view


@contextmanager
def _showing_upload(console: Console, source: str, total: int) -> Iterator[Callable[[int, int], None]]:
    console.print(f"sending {source}: {total / 2**20:.1f} MiB", highlight=False, markup=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("sending", total=total)
        yield lambda sent, _: progress.update(task, completed=sent)


def columns_named(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """From `image=img`, ...; None where there are none. The server says which things a column may hold."""
    named = dict[str, str]()
    for pair in pairs or ():
        what, _, name = pair.partition("=")
        if not what or not name:
            raise typer.BadParameter(f"{pair!r} names no column: write what it holds and its name, as image=img")
        if what in named:
            raise typer.BadParameter(f"two columns are named for {what}: {named[what]} and {name}")
        named[what] = name
    return named or None


def class_names(file: Path) -> list[str]:
    """In the order of ids: what stands after a line's tab, else the line as it is. Raises UnreadableDocument."""
    try:
        lines = read_class_list(file)
    except Invalid as error:
        raise UnreadableDocument(error.detail) from error
    return [line.folder if line.display_name == display_name(line.folder) else line.display_name for line in lines]


def known_layout(layouts: Any) -> Callable[[str | None], str | None]:
    def check(layout: str | None) -> str | None:
        if layout is not None and layout not in get_args(layouts):
            raise typer.BadParameter(f"{layout!r} is none of {', '.join(get_args(layouts))}")
        return layout

    return check


def known_origin(origin: str) -> str:
    if origin not in get_args(Origin):
        raise typer.BadParameter(f"{origin!r} is none of {', '.join(get_args(Origin))}")
    return origin


SourceHelp = (
    "A folder or file of this machine, or a location: hf://datasets/OWNER/NAME, s3://BUCKET/PREFIX, "
    "gs://BUCKET/PREFIX, https://HOST/FILE or library:FOLDER; * stands for any characters but /."
)
SplitHelp = "Location of the files of this split, instead of SOURCE: a file, a folder or a pattern; may repeat."
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="WHAT=NAME",
        help="What a column of parquet files holds and its name, as image=img; may repeat. Left out: the usual names.",
    ),
]
EntryName = Annotated[str | None, typer.Option("--name", help="Left out: from the last part of the source.")]
UpstreamForm = Annotated[
    str | None, typer.Option("--layout", callback=known_layout(UpstreamLayout), help="Left out: recognised.")
]
TargetForm = Annotated[
    str | None, typer.Option("--layout", callback=known_layout(TargetLayout), help="Left out: recognised.")
]
