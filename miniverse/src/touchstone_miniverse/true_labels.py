"""The upstream's own pictures, labelled with the truth: what retrieval would find if it made no mistake.

Prepared on request and never shipped: a data set for each target, for arms of kind `given`. Captions say what a picture
is (captions.py): its name stands first, which is the class of a fine target, and its category last, that of `broad`.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog
import yaml

from touchstone_miniverse.build import TARGET_SCHEMA, write_table
from touchstone_miniverse.catalogue import describe_table

log = structlog.get_logger()

FOLDER = "true-labels"


def labelled(upstream: pa.Table, target: Mapping[str, Any]) -> pa.Table:
    """The pictures of the target's classes with `class_id`, class after class, in the upstream's order within each."""
    class_of = {entry["display_name"]: entry["id"] for entry in target["classes"]}
    place = -1 if target["name"] == "broad" else 0
    said = (caption.split(", ")[place] for caption in upstream["caption"].to_pylist())
    everything = upstream.append_column("class_id", pa.array([class_of.get(name) for name in said], pa.int32()))
    found = everything.filter(pc.is_valid(everything["class_id"]))
    return found.take(np.argsort(found["class_id"].to_numpy(), kind="stable")).select(TARGET_SCHEMA.names)


def prepare(home: Path, targets: tuple[str, ...] = ()) -> dict[str, Any]:
    """Writes a table for each target named, or for all, and gives the catalogue of data sets that `apply` registers."""
    catalogue = yaml.safe_load((home / "catalogue.yaml").read_text())
    shards = sorted((home / "data").glob("upstream-*.parquet"))
    columns = ["key", "image", "caption", "source", "licence"]
    upstream = pa.concat_tables([pq.read_table(path, columns=columns) for path in shards])
    entries = []
    for target in catalogue["targets"]:
        if targets and target["name"] not in targets:
            continue
        path = home / "prepared" / FOLDER / f"{target['name']}.parquet"
        write_table(labelled(upstream, target).to_pydict(), TARGET_SCHEMA, path)
        entries.append(
            {
                "name": f"{target['name']}-{FOLDER}",
                "target": target["name"],
                "images": describe_table(path, home),
                "description": "the upstream's own pictures, labelled with the truth",
            }
        )
    return {"datasets": entries}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, default=Path(__file__).parents[2])
    home = options.parse_args().home.resolve()
    path = home / "prepared" / f"{FOLDER}.yaml"
    document = prepare(home)
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))
    log.info("catalogue.written", path=str(path), datasets=len(document["datasets"]))


if __name__ == "__main__":
    main()
