"""Searching an upstream."""

from pathlib import Path
from typing import Annotated

import typer
from touchstone_contracts.problems import in_words
from touchstone_contracts.search import MOST_RESULTS, SearchIn

from touchstone.client import DEFAULT_SERVER
from touchstone.completion import complete_upstream
from touchstone.search_tables import print_search
from touchstone.terminal import Json, Server, connected, show

app = typer.Typer()


@app.command()
def search(
    upstream: Annotated[str, typer.Argument(help="An upstream's name.", autocompletion=complete_upstream)],
    words: Annotated[str | None, typer.Argument(help="What to look for, in quotes.")] = None,
    image: Annotated[Path | None, typer.Option(help="Look for images like the one in this file.")] = None,
    like: Annotated[str | None, typer.Option(help="Look for images like this one of the upstream: its id.")] = None,
    search_in: Annotated[
        SearchIn, typer.Option("--in", help="Embeddings of images or captions, or the words of captions.")
    ] = "images",
    limit: Annotated[int, typer.Option(min=1, max=MOST_RESULTS, help="Most images to find.")] = 12,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for a worker's answer.")] = 60.0,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """The images of an upstream that are nearest to words or to an image."""
    given = [name for name, value in (("WORDS", words), ("--image", image), ("--like", like)) if value is not None]
    if len(given) != 1:
        said = in_words(given, "and") if given else "nothing"
        raise typer.BadParameter(f"say what to look for by exactly one of WORDS, --image and --like; this says {said}")
    if search_in == "words" and words is None:
        raise typer.BadParameter("words of captions are looked for by WORDS", param_hint="--in")
    with connected(server) as client:
        found = client.search(
            upstream, words, image=image, like=like, search_in=search_in, limit=limit, timeout=timeout
        )
    show(found, json, lambda console: print_search(console, found))
