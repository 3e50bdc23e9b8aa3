"""What a search of an upstream found, at the terminal and in notebooks."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from touchstone_contracts.views import SearchView

from touchstone.fitting import print_table

MOST_SOURCE = 60
"""Characters of a key or URL that are shown; `--json` shows all."""
ID_DIGITS = 12
SEARCHED = {"images": "images", "captions": "captions, by meaning", "words": "captions, by their words"}


def search_title(found: SearchView) -> str:
    asked = repr(found.text) if found.text else "more like one image" if found.like else "like the image"
    return f"{found.upstream}: {asked}, in {SEARCHED[found.search_in]}"


def search_notes(found: SearchView) -> Iterator[str]:
    if found.files < found.all_files:
        yield f"{found.files:,} of {found.all_files:,} files were searched: the others are not ingested yet."
    if not found.results:
        yield "Nothing was found."


def found_rows(found: SearchView) -> Iterator[tuple[str, str, str, str, str]]:
    """Rank, score, caption, beginning of the image's id, where it comes from."""
    for rank, image in enumerate(found.results, 1):
        score = "" if image.score is None else f"{image.score:.3f}"
        yield str(rank), score, image.caption, image.id[:ID_DIGITS], _cut(image.link or image.source_key)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SOURCE else f"{text[: MOST_SOURCE - 1]}…"


def print_search(console: Console, found: SearchView) -> None:
    if found.results:
        table = Table(title=search_title(found), title_justify="left")
        table.add_column("", justify="right")
        table.add_column("score", justify="right")
        for heading in ("caption", "image", "source"):
            table.add_column(heading, overflow="fold")
        for row in found_rows(found):
            table.add_row(*map(escape, row))
        print_table(console, table)
    else:
        console.print(search_title(found), markup=False, highlight=False)
    for note in search_notes(found):
        console.print(note, highlight=False)
