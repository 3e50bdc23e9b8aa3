"""Bytes held at the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from touchstone_contracts.byte_words import byte_words
from touchstone_contracts.views import Storage

from touchstone.fitting import print_table


def print_storage(console: Console, storage: Storage) -> None:
    quota = f" of a quota of {byte_words(storage.quota)}" if storage.quota else ""
    console.print(f"results hold {byte_words(storage.total)}{quota}", highlight=False)
    table = Table()
    table.add_column("id", no_wrap=True)
    table.add_column("name")
    for heading in ("own", "with shared"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in storage.largest:
        table.add_row(each.id, escape(each.name), byte_words(each.own), byte_words(each.total))
    print_table(console, table)
    console.print("own: what a collection removes once the experiment is deleted", highlight=False)
