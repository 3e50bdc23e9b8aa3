"""What was looked for in captions, at the terminal: a row for each query."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from touchstone_contracts.views import SearchedQueries


def print_queries(console: Console, found: SearchedQueries) -> None:
    if not found.queries:
        console.print("no retrieval arm has searched captions yet, or none that tells what it searched")
        return
    table = Table()
    for name in ("target", "arm", "class", "query", "searched"):
        table.add_column(name, overflow="fold")
    table.add_column("captions", justify="right")
    for entry in found.queries:
        style = None if entry.captions else "red"
        words = (entry.target, entry.arm, str(entry.class_id), entry.query, entry.searched)
        table.add_row(*map(escape, words), f"{entry.captions:,}", style=style)
    console.print(table)
    if found.total > len(found.queries):
        console.print(f"{found.total - len(found.queries):,} more queries are not shown")
