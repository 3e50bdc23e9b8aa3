"""What came in of sources at the terminal: a line for each, in red where images were refused."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from touchstone_contracts.account import in_reasons
from touchstone_contracts.views import ExperimentAccount, SourceAccount


def print_account(console: Console, account: ExperimentAccount) -> None:
    print_sources(console, account.sources)
    for entry in account.generated:
        notes = ", ".join(f"{fact.replace('_', ' ')} {count:,}" for fact, count in entry.notes.items())
        console.print(f"{entry.target}/{entry.arm}: {escape(notes)}", soft_wrap=True, highlight=False)


def print_sources(console: Console, sources: Iterable[SourceAccount]) -> None:
    for source in sources:
        came = source.account
        seen = f"{came.taken:,} of {came.seen:,} images taken"
        waits = f", {source.ingested:,} of {source.files:,} files ingested" if source.ingested < source.files else ""
        console.print(f"{source.words}: {seen}{waits}", soft_wrap=True, highlight=False)
        if came.refused:
            console.print(f"  {escape(came.refusals)}", style="red", soft_wrap=True, highlight=False)
        if came.notes:
            console.print(f"  {escape(in_reasons(came.notes))}", soft_wrap=True, highlight=False)
