"""Everything that there is: list it, show one of it, register a catalogue."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer
from touchstone_contracts.catalogue import Catalogue

from touchstone.client import DEFAULT_SERVER
from touchstone.commands.experiments import show_experiment
from touchstone.completion import complete_owner
from touchstone.documents import read_document
from touchstone.registered import KINDS, names_entry, registered
from touchstone.registered_tables import print_entries, print_entry
from touchstone.tables import print_experiments
from touchstone.terminal import Json, Server, Watch, connected, readable_failures, show

app = typer.Typer()

Listed = Literal["experiments", "upstreams", "targets", "datasets", "encoders", "generators"]


@app.command()
def apply(
    catalogue: Annotated[Path, typer.Argument(help="A YAML file of entries.")],
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Register the encoders, generators, upstreams, targets and data sets of a catalogue file."""
    with readable_failures():
        entries = Catalogue.model_validate(read_document(catalogue))
    with connected(server) as client:
        new = client.apply(entries)
    counts = {kind: {"registered": len(getattr(entries, kind)), "new": count} for kind, count in new.items()}
    lines = [f"{kind}: {count['registered']} registered, {count['new']} of them new" for kind, count in counts.items()]
    show(counts, json, lambda console: console.print("\n".join(lines)))


@app.command("list")
def list_everything(
    what: Annotated[Listed, typer.Argument(help="What to list.")] = "experiments",
    most: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    search: Annotated[str, typer.Option(help="Experiments with these words in name or tags.")] = "",
    tag: Annotated[str | None, typer.Option(help="Experiments with this tag.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Experiments that were archived.")] = False,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """All experiments, the newest first; or all upstreams, targets, datasets, encoders or generators, by name."""
    with connected(server) as client:
        if what == "experiments":
            found = list(islice(client.experiments(q=search, tag=tag, archived=archived), most))
            show(found, json, lambda console: print_experiments(console, found))
        else:
            kind = KINDS[what]
            entries = list(islice(kind.listed(client), most))
            show(entries, json, lambda console: print_entries(console, kind, entries))


@app.command("show")
def show_one(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An experiment's id or name, or KIND/NAME: upstream/..., target/..., dataset/..., encoder/..., "
            "generator/...",
            autocompletion=complete_owner,
        ),
    ],
    watch: Watch = False,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """What an experiment asks and how far it is, or what an upstream, target, data set, encoder or generator is."""
    if watch and names_entry(name):
        raise typer.BadParameter("only an experiment can be watched", param_hint="--watch")
    with connected(server) as client:
        if names_entry(name):
            found = registered(client, name)
            show(found, json, lambda console: print_entry(console, found))
        else:
            show_experiment(client, name, watch, json)
