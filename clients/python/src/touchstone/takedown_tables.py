"""Takedowns at the terminal."""

from rich.console import Console
from rich.markup import escape
from touchstone_contracts.views import TakedownView


def print_takedowns(console: Console, takedowns: list[TakedownView]) -> None:
    if not takedowns:
        console.print("nothing was taken down")
    for each in sorted(takedowns, key=lambda takedown: takedown.at):
        console.print(f"{each.id[:12]} {each.at:%Y-%m-%d}: {escape(each.reason)}", soft_wrap=True, highlight=False)
        for named in (*each.images, *each.keys):
            console.print(f"  {escape(named)}", soft_wrap=True, highlight=False)
        for experiment in each.experiments:
            console.print(f"  computed with it: {experiment.id} {escape(experiment.name)}", highlight=False)
