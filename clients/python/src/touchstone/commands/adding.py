"""Register an upstream, a target or a data set from a folder of this machine or a location elsewhere."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from touchstone_contracts.catalogue import Target, Templates
from touchstone_contracts.views import UpstreamView

from touchstone.adding import (
    Columns,
    EntryName,
    SourceHelp,
    SplitHelp,
    TargetForm,
    UpstreamForm,
    add,
    class_names,
    columns_named,
    known_origin,
    locations_of,
    name_of,
)
from touchstone.calls import given
from touchstone.client import DEFAULT_SERVER
from touchstone.tables import console_for_output
from touchstone.terminal import Json, Server, connected, show

app = typer.Typer(
    help="Register an upstream, a target or a data set from a folder of this machine or a location elsewhere.",
    no_args_is_help=True,
)


def progress_console(json: bool) -> Console:
    """Where progress is told: not among the JSON that another program reads."""
    return Console(stderr=True) if json else console_for_output()


@app.command("upstream")
def add_upstream(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=SourceHelp)],
    name: EntryName = None,
    index_encoder: Annotated[
        str | None, typer.Option(help="What searches it. Left out: the only registered encoder with a text tower.")
    ] = None,
    layout: UpstreamForm = None,
    column: Columns = None,
    licence: Annotated[str, typer.Option(help="Of the images, e.g. CC-BY-4.0.")] = "",
    embeddings: Annotated[
        str | None, typer.Option(help="Of links with .npz files: which arrays, as l14 for l14_img and l14_txt.")
    ] = None,
    uids: Annotated[
        str | None, typer.Option(metavar="LOCATION", help="Of links: a list of the uids whose rows are taken.")
    ] = None,
    most_unsafe: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of links: rows that are rated more unsafe are left out.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Images with captions that training images are retrieved from: shards, parquet files, folders, tables of links."""
    columns = columns_named(column)
    console = progress_console(json)
    with connected(server) as client:
        document: dict[str, Any] = {
            "name": name or name_of(sources[0]),
            "location": locations_of(client, sources, console),
        }
        known: dict[str, Any] = given(
            index_encoder=index_encoder,
            layout=layout,
            licence=licence or None,
            columns=columns,
            embeddings=embeddings,
            uids=uids,
            most_unsafe=most_unsafe,
        )
        add(client, "upstream", document | known, console)
        found = client.upstream(document["name"])
    show(found, json, lambda screen: screen.print(_upstream_words(found), highlight=False, soft_wrap=True))


def _upstream_words(found: UpstreamView) -> str:
    shards = len(found.upstream.shards)
    words = f"{found.images} images in {shards} shard{'s' * (shards != 1)}; the ingest is {found.phase}"
    return f"upstream {found.name}: {words} (touchstone account upstream/{found.name})"


@app.command("target")
def add_target(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE...]", help=SourceHelp + " With every split below them.")
    ] = None,
    train: Annotated[list[str] | None, typer.Option(help=SplitHelp)] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Likewise.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Likewise.")] = None,
    name: EntryName = None,
    classes: Annotated[Path | None, typer.Option(help="File: a display name a line, in the order of ids.")] = None,
    template: Annotated[list[str] | None, typer.Option(help="A sentence with {name}; may repeat.")] = None,
    layout: TargetForm = None,
    column: Columns = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """The classification task: folders train, validation and test of class folders, or labelled files for each."""
    splits = given(train=train or None, validation=validation or None, test=test or None)
    if (not sources) == (not splits) or (splits and not {"validation", "test"} <= set(splits)):
        raise typer.BadParameter("name either a SOURCE with every split below it, or --validation and --test")
    columns = columns_named(column)
    console = progress_console(json)
    with connected(server) as client:
        document: dict[str, Any] = {"name": name or name_of((sources or splits["test"])[0])}
        document |= given(layout=layout, columns=columns)
        if classes is not None:
            document["classes"] = class_names(classes)
        if template:
            document["templates"] = dict.fromkeys(Templates.model_fields, template)
        if sources:
            where: dict[str, Any] = {"location": locations_of(client, sources, console)}
        else:
            located = iter(locations_of(client, [each for named in splits.values() for each in named], console))
            where = {"splits": {split: list(islice(located, len(named))) for split, named in splits.items()}}
        add(client, "target", document | where, console)
        found = client.target(document["name"])
    show(found, json, lambda screen: screen.print(_target_words(found), highlight=False, soft_wrap=True))


def _target_words(found: Target) -> str:
    counts = ", ".join(f"{split} {each.images}" for split, each in found.splits.by_name.items())
    return f"target {found.name}: {len(found.classes)} classes; images: {counts}"


@app.command("dataset")
def add_dataset(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=SourceHelp)],
    target: Annotated[str, typer.Option(help="A registered target, whose classes the images are of.")],
    name: EntryName = None,
    layout: TargetForm = None,
    column: Columns = None,
    licence: Annotated[str, typer.Option(help="e.g. CC-BY-4.0")] = "",
    origin: Annotated[str, typer.Option(callback=known_origin, help="real, synthetic or unknown.")] = "unknown",
    made_by: Annotated[str, typer.Option(help="Of synthetic images: the generator.")] = "",
    trained_on: Annotated[str, typer.Option(help="Of synthetic images: what the generator was trained on.")] = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Labelled images for an arm of kind given: a folder for each class of the target, or labelled files."""
    columns = columns_named(column)
    console = progress_console(json)
    words = {"licence": licence, "origin": origin, "made_by": made_by, "trained_on": trained_on}
    with connected(server) as client:
        document: dict[str, Any] = {"name": name or name_of(sources[0]), "target": target} | words
        document |= given(layout=layout, columns=columns)
        view = add(client, "dataset", document | {"location": locations_of(client, sources, console)}, console)
    told = f"dataset {view.name}: registered for target {target}"
    show(view, json, lambda screen: screen.print(told, highlight=False, soft_wrap=True))
