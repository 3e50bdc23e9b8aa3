"""The tables of docs/verdict.md that simulations fill, and the one command that writes them anew:

`PYTHONPATH=tests python -m support.verdict_simulation` (all of them) or `... -m support.verdict_simulation borrowed`.

A table stands in the page between `<!-- table: name -->` and `<!-- end of table -->`."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support import (
    verdict_simulation,
    verdict_simulation_draws,
    verdict_simulation_forecast,
    verdict_simulation_planned,
    verdict_simulation_power,
    verdict_simulation_spread,
    verdict_simulation_targets,
)

PAGE = Path(__file__).parents[2] / "docs/verdict.md"


@dataclass(frozen=True)
class Table:
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = (self.headings, ["---"] * len(self.headings), *self.rows)
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


Made = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings and rows."""
TABLES: dict[str, Callable[[], Made]] = {
    "coverage": verdict_simulation.coverage_table,
    "borrowed": verdict_simulation_spread.ordinary_table,
    "unlike": verdict_simulation_spread.unlike_table,
    "false calls": verdict_simulation_spread.false_call_table,
    "clusters": verdict_simulation_draws.cluster_table,
    "paired": verdict_simulation_draws.paired_table,
    "failed runs": verdict_simulation_draws.failure_table,
    "chances": verdict_simulation_forecast.forecast_table,
    "chances by difference": verdict_simulation_forecast.difference_table,
    "targets": verdict_simulation_targets.targets_table,
    "anytime width": verdict_simulation_planned.anytime_width_table,
    "looks": verdict_simulation.looks_table,
    "planned": verdict_simulation_planned.planned_table,
    "power": verdict_simulation.power_table,
    "expected power": verdict_simulation_power.expected_power_table,
}


def main(names: Sequence[str], page: Path = PAGE) -> None:
    for name in names or TABLES:
        table = Table(*TABLES[name]())  # takes minutes, in which the page may be edited
        page.write_text(with_table(page.read_text(), name, table))
        sys.stdout.write(f"{name}\n")


def with_table(text: str, name: str, table: Table) -> str:
    """Raises ValueError where the page does not mark one position for a table of that name."""
    marked = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end of table -->)", re.DOTALL)
    written, count = marked.subn(lambda found: f"{found[1]}{table}\n{found[2]}", text)
    if count != 1:
        raise ValueError(f"the page marks {count} positions for table {name!r}; it needs one")
    return written
