"""docs/paper.md as data, what the paper's studies plan, and stand-ins for the catalogue entries that they name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from touchstone_contracts.catalogue import (
    Catalogue,
    ClassLabel,
    Encoder,
    ParquetFile,
    Splits,
    Target,
    Templates,
    Upstream,
)
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import sha256
from touchstone_contracts.steps import CurateImages
from touchstone_planning.dag import Plan
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "paper.md"
STUDIES = REPOSITORY / "studies" / "paper"
BENCHMARKS = ("aircraft", "cars", "dtd", "flowers102", "imagenet")
LAION_SHARDS = 16
LAION_IMAGES = 2_320_000_000
WHERE, SAME, NAMED_FLOWERS = "where", "same", {11: "colt's foot", 73: "rose", 77: "lotus"}


def tables(page: str) -> Iterator[list[dict[str, str]]]:
    """Every table of a Markdown page: rows by heading."""
    for block in re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE):
        headings, _, *rows = (re.split(r"\s*\|\s*", line.strip("|\n ")) for line in block.splitlines())
        yield [dict(zip(headings, row, strict=True)) for row in rows]


@dataclass(frozen=True)
class Fact:
    """A row about one benchmark."""

    name: str
    here: Any
    """What the plan must say, where `path` names a field."""
    path: str | None
    file: str | None
    differs: bool
    """Whether the row says another value than the paper's."""
    marks: frozenset[str]


def facts(page: str, benchmark: str) -> list[Fact]:
    return [_fact(row, benchmark) for table in tables(page) for row in table if WHERE in row]


def _fact(row: dict[str, str], benchmark: str) -> Fact:
    per_benchmark = benchmark in row
    here = row[benchmark] if per_benchmark else row["the paper"] if row["here"] == SAME else row["here"]
    path = re.fullmatch(r"`(.+)`", row[WHERE])
    return Fact(
        name=row["fact"],
        here=yaml.safe_load(here) if path else here,
        path=path[1] if path else None,
        file=None if path else row[WHERE],
        differs=not per_benchmark and row["here"] != SAME,
        marks=frozenset(re.findall(r"\b[A-Z]{2,}\b", row["mark"])),
    )


EXPLAINED = {
    "retrieve_images": ("encoder.model", "strategy"),
    "write_captions": ("captions", "images_per_class"),
    "generate_images": ("generator.model", "image_size", "stored_size", "sampler", "seed"),
    "curate_images": ("encoder.model", "rules"),
    "adapt_encoder": ("encoder.model", "recipe", "size", "seed", "learning_rate"),
    "evaluate_encoder": ("evaluation.metrics", "evaluation.linear_probe"),
}
"""By kind of step: the parts of its request that decide what a study does. The page explains each field below them."""


def planned(plan: Plan) -> dict[str, Any]:
    """Every field of the plan's requests by its path, e.g. `adapt_encoder.recipe.epochs`; where steps differ, all its
    values in order. `count(path)` is the number of entries of a sequence or mapping, `embedded(path)` the encoder that
    embedded what a curation compares."""
    found: dict[str, dict[str, Any]] = {}
    for step in plan.steps:
        for path, value in _leaves(step.request, step.kind):
            found.setdefault(path, {})[repr(value)] = value
    values = {path: _one_or_all(list(distinct.values())) for path, distinct in found.items()}
    counts = {f"count({path})": len(value) for path, value in values.items() if isinstance(value, list | dict)}
    return values | counts | _encoders_of_copies(plan)


def _encoders_of_copies(plan: Plan) -> dict[str, Any]:
    """The encoders that images are compared with images by, as `embedded(path)`."""
    rules = [step.request for step in plan.steps if isinstance(step.request, CurateImages)]
    embeddings = {
        "embedded(curate_images.test)": {request.test.embeddings for request in rules},
        "embedded(curate_images.copy_embeddings)": {step for request in rules for step in request.copy_embeddings},
    }
    return {
        path: _one_or_all(sorted({plan.step(step).request.encoder.model for step in steps}))  # type: ignore[attr-defined]
        for path, steps in embeddings.items()
        if steps
    }


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name), f"{path}.{name}")
    else:
        yield path, _plain(value)


def _plain(value: Any) -> Any:
    """As a YAML document has it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _one_or_all(distinct: list[Any]) -> Any:
    numbers = all(isinstance(value, int | float) for value in distinct)
    return distinct[0] if len(distinct) == 1 else sorted(distinct, key=None if numbers else repr)


def mismatches(page: str, benchmark: str, values: dict[str, Any]) -> set[str]:
    """Names of the facts that the plan does not bear out."""
    missing = object()
    return {fact.name for fact in facts(page, benchmark) if fact.path and values.get(fact.path, missing) != fact.here}


def unexplained(page: str, benchmark: str, values: dict[str, Any]) -> set[str]:
    """Fields that decide what a study does and that no row of the page is about."""
    stated = {re.sub(r"count\((.+)\)", r"\1", fact.path) for fact in facts(page, benchmark) if fact.path}
    return {path for path in values if _decides(path) and path not in stated}


def _decides(path: str) -> bool:
    kind, _, field = path.partition(".")
    return any(field == part or field.startswith(f"{part}.") for part in EXPLAINED.get(kind, ()))


def study(benchmark: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((STUDIES / benchmark / "study.yaml").read_text())
    return document


def templates(benchmark: str) -> Templates:
    return Templates.model_validate_json((STUDIES / benchmark / "templates.json").read_bytes())


def plan_of(document: dict[str, Any]) -> Plan:
    return plan_experiment(resolve(ExperimentSpec.model_validate(document), StandIns(stand_ins())))


class StandIns:
    """A catalogue as `resolve` asks it."""

    def __init__(self, entries: Catalogue) -> None:
        self._entries = {
            kind: {entry.name: entry for entry in getattr(entries, kind)}
            for kind in ("upstreams", "encoders", "generators", "targets", "datasets")
        }

    def upstream(self, name: str) -> Any:
        return self._entries["upstreams"].get(name)

    def encoder(self, name: str) -> Any:
        return self._entries["encoders"].get(name)

    def generator(self, name: str) -> Any:
        return self._entries["generators"].get(name)

    def target(self, name: str) -> Any:
        return self._entries["targets"].get(name)

    def dataset(self, name: str) -> Any:
        return self._entries["datasets"].get(name)


def stand_ins() -> Catalogue:
    """The models of studies/paper/catalogue.yaml and a converted descriptor, with an upstream and targets of the right
    sizes and no data."""
    models = Catalogue.model_validate(yaml.safe_load((STUDIES / "catalogue.yaml").read_text()))
    descriptor = Encoder(
        name="isc-ft-v107", model="library:models/isc-ft-v107", digest=sha256(b"isc"), kind="copy_descriptor"
    )
    rows = next(table for table in tables(PAGE.read_text()) if "retrieval templates" in table[0])
    shards = tuple(_source(f"laion-{number}", LAION_IMAGES // LAION_SHARDS) for number in range(LAION_SHARDS))
    upstream = Upstream(name="laion-2b-en", shards=shards, index_encoder="vit-l-14-openai")
    return models.model_copy(
        update={
            "encoders": (*models.encoders, descriptor),
            "upstreams": (upstream,),
            "targets": tuple(_target(row) for row in rows),
        }
    )


def _target(row: dict[str, str]) -> Target:
    name = row["benchmark"]
    found = re.search(r"\((\d+)\)", row["validation"])
    assert found is not None
    validation, probed = int(found[1]), int(row["images that train the linear probe"])
    named = NAMED_FLOWERS if name == "flowers102" else {}
    labels = (
        ClassLabel(id=number, display_name=named.get(number, f"{name} {number}"))
        for number in range(int(row["classes"]))
    )
    return Target(
        name=name,
        classes=tuple(labels),
        templates=templates(name),
        splits=Splits(
            validation=_source(f"{name}-validation", validation),
            test=_source(f"{name}-test", int(row["test"])),
            train=_source(f"{name}-train", probed - validation),
        ),
    )


def _source(name: str, images: int) -> ParquetFile:
    return ParquetFile(location=f"library:{name}.parquet", digest=sha256(name.encode()), images=images)
