"""The tables of docs/verdict.md about chances, targets as a sample, and looks.

`PYTHONPATH=tests python -m support.verdict_simulation_claims` prints them."""

import sys
from collections.abc import Callable

from support import verdict_simulation_forecast, verdict_simulation_planned, verdict_simulation_targets

TABLES: dict[str, Callable[[], tuple[list[str], list[list[str]]]]] = {
    "chances": verdict_simulation_forecast.forecast_table,
    "chances by difference": verdict_simulation_forecast.difference_table,
    "targets": verdict_simulation_targets.targets_table,
    "anytime width": verdict_simulation_planned.anytime_width_table,
    "planned": verdict_simulation_planned.planned_table,
}
"""By the name they have in the page; each gives headings and rows."""

if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        headings, rows = TABLES[name]()
        for row in (headings, ["---"] * len(headings), *rows):
            print("| " + " | ".join(row) + " |")
        print()
