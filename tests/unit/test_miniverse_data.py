"""The miniverse's tables keep what its data sheet promises."""

import hashlib
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from touchstone_contracts.catalogue import Catalogue, ParquetFile, Target, TargetSplit
from touchstone_miniverse.likeness import same_drawing
from touchstone_miniverse.sources import ALL_SOURCES, ALLOWED_LICENCES, SOURCES_BY_NAME, Role
from touchstone_miniverse.targets import MINIMUM_UPSTREAM
from touchstone_runtime.digests import file_digest, folder_digest

HOME = Path(__file__).parents[2] / "miniverse"
CLASSES = {"flags": 241, "animals": 81, "food": 79, "faces": 97, "transport": 60, "broad": 15}
ROLES = {"test": Role.TEST, "validation": Role.VALIDATION, "train": Role.TRAIN}
SIZE_LIMIT = 40_000_000

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.model_validate(yaml.safe_load((HOME / "catalogue.yaml").read_text()))


@pytest.fixture(scope="module")
def upstream() -> Rows:
    return [
        row for shard in sorted((HOME / "data").glob("upstream-*.parquet")) for row in pq.read_table(shard).to_pylist()
    ]


@pytest.fixture(scope="module")
def held_out(catalogue: Catalogue) -> dict[tuple[str, str], Rows]:
    return {
        (target.name, split): pq.read_table(HOME / "data" / "targets" / target.name / f"{split}.parquet").to_pylist()
        for target in catalogue.targets
        for split in ROLES
    }


def splits(target: Target) -> tuple[TargetSplit, ...]:
    assert target.splits.train is not None
    return target.splits.train, target.splits.validation, target.splits.test


def path_of(location: str) -> Path:
    return HOME / location.removeprefix("library:")


def test_upstream_has_nineteen_thousand_pairs_with_unique_keys(upstream: Rows) -> None:
    assert len(upstream) == 19_055
    assert len({row["key"] for row in upstream}) == len(upstream)
    assert all(row["caption"].strip() for row in upstream)


def test_every_file_is_the_one_the_catalogue_and_the_digest_list_name(catalogue: Catalogue) -> None:
    named = [
        *(shard for entry in catalogue.upstreams for shard in entry.shards),
        *(source for target in catalogue.targets for source in splits(target)),
    ]
    lines = [line.split() for line in (HOME / "data" / "DIGESTS").read_text().splitlines()]
    recorded = {path: digest for digest, path in lines}
    files = sorted((HOME / "data").rglob("*.parquet"))
    assert len(named) == 8 + 18
    assert len(files) == len(recorded) == len(named) + 1  # the labels of the upstream, which a spec names
    for source in named:
        assert isinstance(source, ParquetFile)
        path = path_of(source.location)
        assert file_digest(path) == source.digest == recorded[path.relative_to(HOME / "data").as_posix()]
        assert pq.read_metadata(path).num_rows == source.images


def test_models_are_the_ones_the_catalogue_names_and_learned_from_the_upstream(catalogue: Catalogue) -> None:
    models = [*catalogue.encoders, *catalogue.generators]
    assert [model.name for model in models] == ["mini-clip", "mini-clip-full", "mini-diffusion"]
    for model in models:
        assert folder_digest(path_of(model.model)) == model.digest
        assert model.trained_on == catalogue.upstreams[0].name


def test_tables_stay_below_forty_megabytes_and_no_file_above_twenty() -> None:
    sizes = [path.stat().st_size for path in (HOME / "data").rglob("*.parquet")]
    assert len(sizes) == 27
    assert sum(sizes) < SIZE_LIMIT
    assert max(sizes) < 20_000_000


def test_the_labels_of_the_upstream_name_its_pictures_of_every_class(catalogue: Catalogue, upstream: Rows) -> None:
    rows = pq.read_table(HOME / "data" / "labels" / "upstream.parquet").to_pylist()
    assert len(rows) == 5_113
    keys = {row["key"] for row in upstream}
    assert {row["key"] for row in rows} <= keys
    assert len({(row["target"], row["key"]) for row in rows}) == len(rows)  # one class of a target each
    names = {row["key"]: row["captions"][0] for row in upstream}
    for target in catalogue.targets:
        own = [row for row in rows if row["target"] == target.name]
        drawn = Counter(row["class_id"] for row in own)
        assert set(drawn) == {label.id for label in target.classes}
        assert min(drawn.values()) >= MINIMUM_UPSTREAM
        if target.name != "broad":  # its classes are not called like their pictures
            assert all(names[row["key"]] == target.classes[row["class_id"]].display_name for row in own)


def test_every_row_carries_the_allowed_licence_its_source_declares(
    upstream: Rows, held_out: dict[tuple[str, str], Rows]
) -> None:
    rows = upstream + [row for split in held_out.values() for row in split]
    assert len(rows) > 21_000
    for row in rows:
        assert row["licence"] == SOURCES_BY_NAME[row["source"]].licence
        assert row["key"].startswith(f"{row['source']}/")
    assert {row["licence"] for row in rows} <= ALLOWED_LICENCES


def test_licence_page_names_every_source_with_version_and_author() -> None:
    page = (HOME / "LICENCES.md").read_text()
    for source in ALL_SOURCES:
        assert f"| {source.name} |" in page
        assert f"{source.package.name} {source.package.version}" in page
        assert source.author in page
    assert len(ALL_SOURCES) == 26


def test_no_held_out_vendor_draws_for_the_upstream(upstream: Rows, held_out: dict[tuple[str, str], Rows]) -> None:
    vendors = {SOURCES_BY_NAME[row["source"]].vendor for row in upstream}
    for (_, split), rows in held_out.items():
        assert {SOURCES_BY_NAME[row["source"]].role for row in rows} == {ROLES[split]}
        assert vendors.isdisjoint({SOURCES_BY_NAME[row["source"]].vendor for row in rows})


def test_no_picture_stands_twice_upstream_or_on_both_sides(
    upstream: Rows, held_out: dict[tuple[str, str], Rows]
) -> None:
    drawn = {hashlib.sha256(row["image"]).digest() for row in upstream}
    kept_out = {hashlib.sha256(row["image"]).digest() for rows in held_out.values() for row in rows}
    assert len(drawn) == len(upstream)
    assert len(kept_out) > 1_000
    assert drawn.isdisjoint(kept_out)


def test_every_class_has_pictures_in_every_split(catalogue: Catalogue, held_out: dict[tuple[str, str], Rows]) -> None:
    assert {target.name: len(target.classes) for target in catalogue.targets} == CLASSES
    for target in catalogue.targets:
        for split in ROLES:
            ids = Counter(row["class_id"] for row in held_out[target.name, split])
            assert sorted(ids) == list(range(len(target.classes)))


def test_no_drawing_stands_in_two_splits_of_a_target(held_out: dict[tuple[str, str], Rows]) -> None:
    compared = 0
    for target in CLASSES.keys() - {"broad"}:  # broad shows the same pictures again
        of_class: dict[int, dict[str, list[bytes]]] = {}
        for split in ROLES:
            for row in held_out[target, split]:
                of_class.setdefault(row["class_id"], {}).setdefault(split, []).append(row["image"])
        for pictures in of_class.values():
            tested = pictures["test"]
            compared += len(tested)
            assert not any(same_drawing(picture, tested) for picture in pictures["train"] + pictures["validation"])
    assert compared == 750


def test_near_duplicates_share_a_group_and_captions_say_the_name(upstream: Rows) -> None:
    sizes = Counter(row["group"] for row in upstream)
    keys = {row["key"] for row in upstream}
    assert set(sizes) <= keys
    assert sum(count - 1 for count in sizes.values()) == 1_432
    fluent = [row for row in upstream if row["source"] == "fluent-emoji-flat"]
    assert sum(row["group"] != row["key"] or sizes[row["key"]] > 1 for row in fluent) / len(fluent) > 0.6
    assert np.mean([len(row["captions"]) for row in upstream]) > 5
    for row in upstream:
        assert row["captions"][0] == row["caption"].split(", ")[0]
        assert len(set(row["captions"])) == len(row["captions"])


def test_every_class_name_occurs_in_some_upstream_caption(catalogue: Catalogue, upstream: Rows) -> None:
    text = "\n".join(row["caption"].lower() for row in upstream)
    names = [label.query.lower() for target in catalogue.targets for label in target.classes]
    assert len(names) == sum(CLASSES.values())
    assert [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)] == []


def test_pictures_are_64_pixels_square_and_lossless(upstream: Rows) -> None:
    for row in upstream[:: len(upstream) // 50]:
        picture = Image.open(io.BytesIO(row["image"]))
        assert (picture.format, picture.size, picture.mode) == ("WEBP", (64, 64), "RGB")
        assert row["image"][12:16] == b"VP8L"
