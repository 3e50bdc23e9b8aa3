"""Data as newcomers have it, made of the miniverse's pictures: photos with captions, and class folders."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from PIL import Image
from support.archives import tar_of
from support.deployment import ROOT

MINIVERSE = ROOT / "miniverse"
TARGET = "broad"
CLASSES = ("building", "land vehicle", "mammal", "meal", "weather")
PHOTOS_PER_CLASS = 50
TEST_PER_CLASS = 20
VALIDATION_PER_CLASS = 15
OWN_PER_CLASS = 28
Rows = Sequence[Mapping[str, Any]]


@cache
def photos() -> tuple[dict[str, Any], ...]:
    """Of the miniverse's upstream, PHOTOS_PER_CLASS for each class: `image`, `caption` and `class_name`."""
    labels = pq.read_table(MINIVERSE / "data/labels/upstream.parquet", filters=pc.field("target") == TARGET)
    names = _names()
    by_key = {row["key"]: names[row["class_id"]] for row in labels.to_pylist()}
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((MINIVERSE / "data").glob("upstream-*.parquet")):
        for row in pq.read_table(path, columns=["key", "image", "caption"]).to_pylist():
            if (name := by_key.get(row["key"])) in CLASSES:
                found[name].append({"image": _png(row["image"]), "caption": row["caption"], "class_name": name})
    return tuple(row for name in CLASSES for row in found[name][:PHOTOS_PER_CLASS])


@cache
def labelled(split: str, per_class: int) -> tuple[dict[str, Any], ...]:
    """Of a split of the miniverse's target, whose pictures are by other makers than the photos."""
    names = _names()
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in pq.read_table(MINIVERSE / f"data/targets/{TARGET}/{split}.parquet").to_pylist():
        if (name := names[row["class_id"]]) in CLASSES:
            found[name].append({"image": _png(row["image"]), "class_name": name})
    return tuple(row for name in CLASSES for row in found[name][:per_class])


def validation() -> Rows:
    return labelled("validation", VALIDATION_PER_CLASS)


def held_out_images() -> Rows:
    return labelled("test", TEST_PER_CLASS)


def own_images() -> Rows:
    return labelled("train", OWN_PER_CLASS)


def write_photos(folder: Path) -> None:
    """Pictures, each with its caption in a text file of the same name."""
    folder.mkdir(parents=True)
    for number, row in enumerate(photos()):
        (folder / f"photo {number:03}.png").write_bytes(row["image"])
        (folder / f"photo {number:03}.txt").write_text(row["caption"])


def write_class_folders(folder: Path, rows: Rows) -> None:
    for number, row in enumerate(rows):
        path = folder / row["class_name"] / f"picture {number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"])


def write_target(folder: Path) -> None:
    write_class_folders(folder / "val", validation())
    write_class_folders(folder / "test", held_out_images())


def write_captioned_table(folder: Path) -> None:
    """The photos with their captions in one `metadata.csv`."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file_name", "caption"))
        for number, row in enumerate(photos()):
            (folder / f"photo {number:03}.png").write_bytes(row["image"])
            table.writerow((f"photo {number:03}.png", row["caption"]))


def write_webdataset(path: Path) -> None:
    """The photos as a tar shard: `<key>.png` with `<key>.txt`."""
    files: dict[str, bytes] = {}
    for number, row in enumerate(photos()):
        files |= {f"{number:05}.png": row["image"], f"{number:05}.txt": row["caption"].encode()}
    path.write_bytes(tar_of(files))


def write_hugging_face_parquet(path: Path, rows: Rows) -> None:
    """As the data sets library writes it: `image` is a struct of bytes and path, `label` a ClassLabel."""
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    table = pa.table(
        {
            "image": [{"bytes": row["image"], "path": f"{number}.png"} for number, row in enumerate(rows)],
            "label": [CLASSES.index(row["class_name"]) for row in rows],
        }
    )
    said = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": said}), path)


def files_below(folder: Path) -> dict[str, bytes]:
    """By name within the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _png(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "png")
    return buffer.getvalue()


@cache
def _names() -> dict[int, str]:
    """Display names by class id."""
    catalogue = yaml.safe_load((MINIVERSE / "catalogue.yaml").read_text())
    [target] = [entry for entry in catalogue["targets"] if entry["name"] == TARGET]
    return {entry["id"]: entry["display_name"] for entry in target["classes"]}
