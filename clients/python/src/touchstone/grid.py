"""Training images of every arm side by side, as a picture file. Needs `pip install 'touchstone-lab[figures]'`."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from matplotlib.figure import Figure
from PIL import Image, ImageOps
from touchstone_contracts.catalogue import ClassLabel

from touchstone.client import Client

Entry = TypeVar("Entry")

CELL_INCHES = 0.5
LABEL_INCHES = 1.6


class Row(NamedTuple):
    """One class and its images (encoded files) by arm."""

    name: str
    images: Mapping[str, Sequence[bytes]]


class ExperimentTarget(NamedTuple):
    """One target of one experiment."""

    experiment: str
    target: str


def fetch_row(client: Client, of: ExperimentTarget, label: ClassLabel, arms: Sequence[str], each: int) -> Row:
    """The first `each` images of a class that curation kept, of every arm."""
    images = {}
    for arm in arms:
        page = client.arm_images(of.experiment, arm, of.target, class_id=label.id, kept=True, limit=each)
        images[arm] = [client.image(shown) for shown in page.items]
    return Row(label.display_name, images)


def evenly(entries: Sequence[Entry], count: int) -> list[Entry]:
    """`count` of them (all, if there are fewer) at equal distances, in their order."""
    count = min(count, len(entries))
    return [entries[index * len(entries) // count] for index in range(count)]


def draw_grid(rows: Sequence[Row], each: int, path: Path) -> None:
    """One row per class, `each` columns per arm. Cells stay empty where an arm has fewer images of a class.

    Every row has the same arms."""
    arms = list(rows[0].images)
    columns = each * len(arms)
    size = (LABEL_INCHES + CELL_INCHES * columns, CELL_INCHES * (len(rows) + 1))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for row, cells in zip(rows, panels, strict=True):
        cells[0].text(-0.2, 0.5, row.name, ha="right", va="center", fontsize="small", transform=cells[0].transAxes)
        for start, arm in enumerate(arms):
            for axes, content in zip(cells[start * each :], row.images[arm][:each], strict=False):
                axes.imshow(_over_white(content))
    for start, arm in enumerate(arms):
        panels[0][start * each].set_title(arm, loc="left", fontsize="small")
    figure.savefig(path, dpi=110)


def _over_white(content: bytes) -> Image.Image:
    """Upright, and transparency over white, as the system's own decoder does."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
