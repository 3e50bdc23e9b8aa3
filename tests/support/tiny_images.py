"""Coloured shapes with captions: an upstream and a target small enough for any test, drawn with Pillow.

`tiny_upstream(library)` and `tiny_target(library)` write parquet files below `library`/data and return their catalogue
entries. The same arguments give the same bytes. Class of the target = shape; upstream captions name colour and shape;
test images differ from upstream and validation by their background."""

import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw
from touchstone_contracts.catalogue import ClassLabel, ParquetFile, Splits, Target, Templates, Upstream
from touchstone_runtime.digests import file_digest

SIZE = 32
SHAPES = ("circle", "square", "triangle", "bar")
COLOURS = {"red": (220, 30, 30), "green": (30, 170, 60), "blue": (40, 60, 220), "yellow": (240, 210, 40)}
UPSTREAM_GROUND = (255, 255, 255)
VALIDATION_GROUND = (225, 225, 235)
TEST_GROUND = (40, 40, 50)
OTHER_DOMAIN_GROUND = (250, 220, 190)


def draw_shape(
    shape: str,
    colour: str,
    rng: np.random.Generator,
    *,
    ground: tuple[int, int, int] = UPSTREAM_GROUND,
    size: int = SIZE,
    encoding: str = "PNG",
) -> bytes:
    """One encoded RGB image; `rng` decides position and extent."""
    image = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(image)
    left, top = rng.integers(1, size // 3, size=2).tolist()
    extent = int(rng.integers(size // 3, size // 2))
    box = (left, top, left + extent, top + extent)
    match shape:
        case "circle":
            draw.ellipse(box, fill=COLOURS[colour])
        case "square":
            draw.rectangle(box, fill=COLOURS[colour])
        case "triangle":
            corners = [(left, top + extent), (left + extent, top + extent), (left + extent // 2, top)]
            draw.polygon(corners, fill=COLOURS[colour])
        case "bar":
            draw.rectangle((left, top, left + extent, top + max(2, extent // 4)), fill=COLOURS[colour])
        case _:
            raise ValueError(f"no shape {shape!r}; there are {SHAPES}")
    buffer = io.BytesIO()
    image.save(buffer, encoding)
    return buffer.getvalue()


def write_source(library: Path, name: str, rows: Sequence[dict[str, Any]]) -> ParquetFile:
    """A parquet file library/data/<name>.parquet with the rows' columns, as a source."""
    path = library / "data" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return ParquetFile(location=f"library:data/{name}.parquet", digest=file_digest(path), images=len(rows))


def upstream_rows(images: int, seed: int = 0) -> list[dict[str, Any]]:
    """key, image, caption: shapes and colours in turn, captions as people write them."""
    rng = np.random.default_rng([seed, 1])
    names = list(COLOURS)
    rows = []
    for i in range(images):
        shape, colour = SHAPES[i % len(SHAPES)], names[(i // len(SHAPES)) % len(names)]
        caption = (f"a {colour} {shape}", f"{shape.title()}, {colour}; an icon", f"icon of a {shape} in {colour}")[
            i % 3
        ]
        rows.append({"key": f"up-{seed}-{i:05d}", "image": draw_shape(shape, colour, rng), "caption": caption})
    return rows


def target_rows(
    per_class: int, ground: tuple[int, int, int], seed: int, classes: Iterable[str] = SHAPES
) -> list[dict[str, Any]]:
    """key, image, class_id: `per_class` images of each shape in random colours."""
    rng = np.random.default_rng([seed, 2])
    return [
        {
            "key": f"{shape}-{i:03d}",
            "image": draw_shape(shape, str(rng.choice(list(COLOURS))), rng, ground=ground),
            "class_id": class_id,
        }
        for class_id, shape in enumerate(classes)
        for i in range(per_class)
    ]


def tiny_upstream(
    library: Path,
    name: str = "tiny",
    *,
    images: int = 48,
    shards: int = 2,
    index_encoder: str = "tiny-clip",
    seed: int = 0,
) -> Upstream:
    rows = upstream_rows(images, seed)
    cuts = np.linspace(0, images, shards + 1).astype(int)
    return Upstream(
        name=name,
        shards=tuple(
            write_source(library, f"{name}-upstream-{shard}", rows[first:last])
            for shard, (first, last) in enumerate(itertools.pairwise(cuts))
        ),
        index_encoder=index_encoder,
    )


def tiny_target(
    library: Path, name: str = "shapes", *, per_class: int = 4, train: bool = False, further_tests: Sequence[str] = ()
) -> Target:
    """`further_tests`: names of test sets on another ground, two images fewer per class."""
    templates = ("a picture of a {name}", "icon of a {name}")
    return Target(
        name=name,
        classes=tuple(ClassLabel(id=i, display_name=shape) for i, shape in enumerate(SHAPES)),
        templates=Templates(retrieval=templates, filter=templates, zero_shot=templates, synthesis=templates),
        splits=Splits(
            validation=write_source(library, f"{name}-validation", target_rows(per_class, VALIDATION_GROUND, 1)),
            test=write_source(library, f"{name}-test", target_rows(per_class, TEST_GROUND, 2)),
            train=write_source(library, f"{name}-train", target_rows(per_class, VALIDATION_GROUND, 3))
            if train
            else None,
            further_tests={
                test_set: write_source(
                    library, f"{name}-{test_set}", target_rows(per_class - 2, OTHER_DOMAIN_GROUND, 4 + number)
                )
                for number, test_set in enumerate(further_tests)
            },
        ),
    )
