"""catalogue.yaml: what the platform registers at start-up - upstream, targets, encoder and generator, by digest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from touchstone_runtime.digests import file_digest, folder_digest

from touchstone_miniverse.targets import Target

UPSTREAM = "miniverse"
INDEX_ENCODER = "mini-clip"
ENCODERS = (INDEX_ENCODER, "mini-clip-full")
GENERATOR = "mini-diffusion"
GENERATOR_SIDE = 32
SPLITS = ("train", "validation", "test")
SAME_CONCEPT = {"kind": "key", "remove": "^[^/]+/|-"}
"""Pictures of one concept by several vendors: `noto/baby-chick` and `fxemoji/babychick`."""


def write_catalogue(targets: Sequence[Target], home: Path, upstream: str = UPSTREAM) -> None:
    """Write `catalogue.yaml` for the tables and models that lie below `home`."""
    document = {
        "upstreams": [{"name": upstream, "index_encoder": INDEX_ENCODER, "shards": _shards(home)}],
        "targets": [_target(target, home) for target in targets],
    }
    _save(document | models(home), home)


def refresh_models(home: Path) -> None:
    """Renew the digests of the models in an existing catalogue, after an export."""
    document = yaml.safe_load((home / "catalogue.yaml").read_text())
    _save(document | models(home), home)


def models(home: Path) -> dict[str, list[dict[str, Any]]]:
    """The `encoders` and `generators` sections, for the model folders that exist."""
    sections: dict[str, list[dict[str, Any]]] = {"encoders": [], "generators": []}
    for encoder in ENCODERS:
        if (home / "models" / encoder / "open_clip_config.json").exists():
            sections["encoders"].append(_model(encoder, home))
    if (home / "models" / GENERATOR / "model_index.json").exists():
        sections["generators"].append(_model(GENERATOR, home) | {"image_size": GENERATOR_SIDE})
    return sections


def _model(name: str, home: Path) -> dict[str, Any]:
    return {
        "name": name,
        "model": f"library:models/{name}",
        "digest": folder_digest(home / "models" / name),
        "trained_on": UPSTREAM,
    }


def _shards(home: Path) -> list[dict[str, Any]]:
    return [describe_table(path, home) for path in sorted((home / "data").glob("upstream-*.parquet"))]


def _target(target: Target, home: Path) -> dict[str, Any]:
    folder = home / "data" / "targets" / target.name
    return {
        "name": target.name,
        "classes": [{"id": entry.id, "display_name": entry.name} for entry in target.classes],
        "templates": {use: list(templates) for use, templates in target.templates.items()},
        "splits": {
            split: describe_table(folder / f"{split}.parquet", home) | _clusters(target, split) for split in SPLITS
        },
    }


def _clusters(target: Target, split: str) -> dict[str, Any]:
    """Of `broad`, whose classes have many concepts; a class of the others is one concept."""
    return {"cluster": SAME_CONCEPT} if (target.name, split) == ("broad", "test") else {}


def describe_table(path: Path, home: Path) -> dict[str, Any]:
    """A `ParquetFile` of a catalogue: where below the library the file lies, its digest and its length."""
    return {
        "format": "parquet",
        "location": f"library:{path.relative_to(home).as_posix()}",
        "digest": file_digest(path),
        "images": pq.read_metadata(path).num_rows,
    }


def _save(document: dict[str, Any], home: Path) -> None:
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    (home / "catalogue.yaml").write_text(text)
