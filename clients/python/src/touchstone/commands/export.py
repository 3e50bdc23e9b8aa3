"""An arm's training set as a folder that other tools read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from touchstone.client import DEFAULT_SERVER
from touchstone.exports.layouts import LayoutName
from touchstone.exports.training_set import Exported, Watcher, export_training_set
from touchstone.terminal import INTERRUPTED, ExperimentId, Json, Server, TargetName, connected, show, stop

app = typer.Typer()


@app.command()
def export(
    experiment: ExperimentId,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; new or empty.")],
    arm: Annotated[str, typer.Option(help="An arm that trains.")],
    to: Annotated[
        LayoutName,
        typer.Option(help="An image folder for Hugging Face, tar shards, or a classification data set of FiftyOne."),
    ] = "hf-dataset",
    target: TargetName = None,
    size: Annotated[
        int | None, typer.Option(help="One of the experiment's sizes. Left out: all images that curation kept.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="One of the experiment's seeds. Left out, with --size: the first.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Write an arm's training set with labels, captions, provenance, scores and a data card."""
    if seed is not None and size is None:
        raise typer.BadParameter("a seed draws a training set of a size: name --size too", param_hint="--seed")
    with connected(server) as client, _undone_by_interrupt(folder), _showing_images() as watcher:
        done = export_training_set(
            client, experiment, arm, folder, to=to, target=target, size=size, seed=seed, watcher=watcher
        )
    _warn(done)
    told = f"{folder}: {done.images:,} images, digest {done.digest[:12]}"
    answer = {"folder": folder, "to": to, "images": done.images, "digest": done.digest, "trained_on": done.trained_on}
    show(answer, json, lambda console: console.print(told, highlight=False, soft_wrap=True, markup=False))


@contextmanager
def _showing_images() -> Iterator[Watcher]:
    """On standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("images", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _undone_by_interrupt(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise stop(f"Interrupted: {folder} was not written.", INTERRUPTED) from None


def _warn(done: Exported) -> None:
    if done.trained_on not in (None, done.digest):
        Console(stderr=True).print(
            "The run recorded another training set: images have been taken down since, or the pool was made again.",
            style="yellow",
            soft_wrap=True,
        )
