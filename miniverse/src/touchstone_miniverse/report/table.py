"""The report on a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(report: Mapping[str, Any], written: Path, console: Console) -> None:
    """Recognisability by target, then the distances and where everything lies."""
    table = Table(title=f"Recognised by {report['judge']['folder']}: share of pictures put into their class")
    for heading in ("target", "classes", "real", "held out", "synthetic", "of real", "variety", "near", "copies"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for name, row in report["targets"].items():
        spread, near = row["mean_pairwise_distance"], report["nearest_neighbour"][name]
        table.add_row(
            name, str(row["classes"]), f"{row['real_recognised']:.3f}", f"{row['held_out_recognised']:.3f}",
            f"{row['synthetic_recognised']:.3f} ± {row['synthetic_standard_error']:.3f}", f"{row['ratio']:.2f}",
            f"{spread['synthetic'] / spread['real']:.2f}",
            _share(near["pixels"]), _share(near["pixels_own_styles"]),
        )  # fmt: skip
    console.print(table)
    console.print(
        "variety: mean distance within a class, of real. near: share nearer to the upstream than 99 % of held-out "
        "pictures, which are in other styles. copies: nearer than 99 % of the upstream's own pictures are to other "
        "drawings. In brackets: more than chance from here."
    )
    frechet = report["frechet"]
    console.print(
        f"Frechet distance {frechet['synthetic']:.4f}, real against real {frechet['real_floor']:.4f}: "
        f"{frechet['ratio']:.1f} times, {frechet['pictures']} pictures each"
    )
    console.print(f"Written: {written} and the contact sheets in {written.with_suffix('')}/")


def _share(near: Mapping[str, float]) -> str:
    return f"{near['share']:.3f} ({near['upper']:.3f})"
