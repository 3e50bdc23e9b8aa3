"""docs/paper.md as data, and stand-ins for the catalogue entries that the paper's studies name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from touchstone_contracts.catalogue import Catalogue, ClassLabel, ParquetFile, Splits, Target, Templates, Upstream
from touchstone_contracts.identity import sha256

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "paper.md"
STUDIES = REPOSITORY / "studies" / "paper"
BENCHMARKS = ("aircraft", "cars", "dtd", "flowers102", "imagenet")
LAION_SHARDS = 16
LAION_IMAGES = 2_320_000_000
IN_THE_SPEC = "in the spec"


def tables(page: str) -> Iterator[list[dict[str, str]]]:
    """Every table of a Markdown page: rows by heading."""
    for block in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        headings, _, *rows = (re.split(r"\s*\|\s*", line.strip("|\n ")) for line in block.splitlines())
        yield [dict(zip(headings, row, strict=True)) for row in rows]


def spec_facts(page: str, benchmark: str) -> Iterator[tuple[str, Any]]:
    """(path into the study, value) of every row that names a field of the spec."""
    for table in tables(page):
        for row in table:
            stated = re.fullmatch(r"`([^`]+)`(?: = (.+))?", row.get(IN_THE_SPEC, ""))
            if stated:
                yield stated[1], yaml.safe_load(stated[2] or row[benchmark])


def value_at(study: dict[str, Any], path: str) -> Any:
    """`arms[retrieved].strategy.kind`; an entry of a list is found by its `name`. Raises KeyError."""
    value: Any = study
    for key, name in re.findall(r"(\w+)(?:\[(\w+)\])?", path):
        value = value[key]
        if name:
            value = {entry.get("name"): entry for entry in value}[name]
    return value


def study(benchmark: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((STUDIES / benchmark / "study.yaml").read_text())
    return document


def stand_ins() -> Catalogue:
    """The models of studies/paper/catalogue.yaml, with an upstream and targets of the right sizes and no data."""
    models = Catalogue.model_validate(yaml.safe_load((STUDIES / "catalogue.yaml").read_text()))
    facts = next(table for table in tables(PAGE.read_text()) if "retrieval templates" in table[0])
    shards = tuple(_source(f"laion-{number}", LAION_IMAGES // LAION_SHARDS) for number in range(LAION_SHARDS))
    upstream = Upstream(name="laion-2b-en", shards=shards, index_encoder="vit-l-14-openai")
    targets = tuple(_target(row) for row in facts)
    return models.model_copy(update={"upstreams": (upstream,), "targets": targets})


def _target(row: dict[str, str]) -> Target:
    name = row["benchmark"]
    validation = re.search(r"\((\d+)\)", row["validation"])
    assert validation is not None
    purposes = {"retrieval": "retrieval", "filter": "filter", "zero_shot": "zero-shot", "synthesis": "filter"}
    return Target(
        name=name,
        classes=tuple(ClassLabel(id=number, display_name=f"{name} {number}") for number in range(int(row["classes"]))),
        templates=Templates(
            **{purpose: _templates(int(row[f"{column} templates"])) for purpose, column in purposes.items()}
        ),
        splits=Splits(
            validation=_source(f"{name}-validation", int(validation[1])),
            test=_source(f"{name}-test", int(row["test"])),
            train=_source(f"{name}-train", int(row["images that train the linear probe"])),
        ),
    )


def _templates(count: int) -> tuple[str, ...]:
    return tuple(f"photo {number} of a {{name}}" for number in range(count))


def _source(name: str, images: int) -> ParquetFile:
    return ParquetFile(location=f"library:{name}.parquet", digest=sha256(name.encode()), images=images)
