"""Components of variance as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from touchstone.fitting import print_table

# What estimates them comes with the extra `judge`.
if TYPE_CHECKING:
    from touchstone_verdict.variance_sources import Component


def print_variance(console: Console, target: str, components: Sequence["Component"]) -> None:
    """Standard deviations in points of accuracy, with 95 % intervals."""
    table = Table(title=f"{target}: standard deviation in points", title_justify="left")
    for heading in ("source", "deviation", "95 % interval", "degrees of freedom"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for component in components:
        ends = " to ".join(f"{100 * end**0.5:.2f}" for end in (component.low, component.high))
        degrees = str(component.degrees_of_freedom)
        table.add_row(component.source, f"{100 * component.deviation:.2f}", ends, degrees)
    print_table(console, table)
