"""Contact sheets people can look at: each class with real pictures on the left and generated ones on the right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from touchstone_miniverse.report.pictures import Labelled

SIDE = 48
NAME_WIDTH = 190
GAP = 16
INK = (40, 40, 40)


def real_and_generated(target: Mapping[str, Any], real: Labelled, generated: Labelled, shown: int = 6) -> Image.Image:
    """One row per class: name, up to `shown` real pictures, as many generated ones."""
    width = NAME_WIDTH + 2 * shown * SIDE + GAP
    sheet = Image.new("RGB", (width, SIDE * (len(target["classes"]) + 1)), "white")
    _write(sheet, 0, {NAME_WIDTH: "real (upstream)", NAME_WIDTH + shown * SIDE + GAP: "generated"})
    for row, entry in enumerate(target["classes"], start=1):
        _write(sheet, row, {4: entry["display_name"]})
        for left, pictures in ((NAME_WIDTH, real), (NAME_WIDTH + shown * SIDE + GAP, generated)):
            _paste(
                sheet,
                row,
                left,
                [pictures.images[index] for index in np.flatnonzero(pictures.labels == entry["id"])[:shown]],
            )
    return sheet


def by_prompt(prompts: Sequence[str], images: Sequence[Image.Image]) -> Image.Image:
    """One row per prompt with its pictures; `images` holds them prompt by prompt, equally many."""
    each = len(images) // len(prompts)
    sheet = Image.new("RGB", (NAME_WIDTH + each * SIDE, SIDE * len(prompts)), "white")
    for row, prompt in enumerate(prompts):
        _write(sheet, row, {4: prompt})
        _paste(sheet, row, NAME_WIDTH, images[row * each : (row + 1) * each])
    return sheet


def _write(sheet: Image.Image, row: int, words: Mapping[int, str]) -> None:
    pen = ImageDraw.Draw(sheet)
    for left, text in words.items():
        pen.text((left, row * SIDE + SIDE // 3), text[:30], fill=INK, font=ImageFont.load_default(12))


def _paste(sheet: Image.Image, row: int, left: int, images: Sequence[Image.Image]) -> None:
    for column, image in enumerate(images):
        sheet.paste(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left + column * SIDE, row * SIDE))
