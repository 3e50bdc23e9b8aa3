"""Upstream images by their true class: the table they are read from, and what is planned for them."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.specs import DictLookup, resolved, spec
from touchstone_contracts.arms.labelled import Labelled, LabelTable
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.catalogue import ArrayFile, LinkTable
from touchstone_contracts.identity import identity, sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import CurateImages, DownloadImages, FindLabelled
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.estimate import workload
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_retrieval.labelled import find_labelled, read_labels

ROWS: dict[str, Any] = {
    "key": ["a", "b", "c", "b"],
    "target": ["fine", "fine", "broad", "fine"],
    "class_id": [0, 2, 9, 1],
}
TABLE = LabelTable(location="library:truth.parquet", digest=sha256(b"truth"), images=4)
ARM = Labelled(name="truth", labels=TABLE)


def written(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "truth.parquet")
    return folder / "truth.parquet"


def test_the_rows_of_the_target_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    assert read_labels(path, TABLE, "fine", 3) == [("a", 0), ("b", 2), ("b", 1)]
    assert read_labels(path, TABLE, "broad", 10) == [("c", 9)]
    assert read_labels(path, TABLE, "absent", 2) == []


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({name: values for name, values in ROWS.items() if name != "target"}, "missing_columns"),
        ({name: values[:3] for name, values in ROWS.items()}, "wrong_count"),
        (ROWS | {"class_id": [0, 3, 9, 1]}, "bad_class_id"),
        (ROWS | {"class_id": [0, None, 9, 1]}, "bad_class_id"),
        (ROWS | {"class_id": [0, -1, 9, 1]}, "bad_class_id"),
    ],
)
def test_a_table_that_is_not_what_was_described_is_refused(tmp_path: Path, columns: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_labels(written(tmp_path, columns), TABLE, "fine", 3)
    assert refused.value.code == code
    assert "library:truth.parquet" in str(refused.value)


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "truth.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(Invalid, match="cannot be read"):
        read_labels(tmp_path / "truth.parquet", TABLE, "fine", 3)


def test_an_image_is_found_once_in_each_of_its_classes_and_unknown_keys_are_not() -> None:
    labels = [("b", 1), ("a", 0), ("b", 0), ("gone", 2), ("copy", 0)]
    found, report = find_labelled(labels, keys=["a", "b", "copy"], image_ids=["x", "y", "x"])
    assert [(each.class_id, each.row) for each in found] == [(0, 0), (0, 1), (1, 1)]  # `copy` has the bytes of `a`
    assert all(each.found_by == "labelled" and math.isnan(each.similarity) for each in found)
    assert (report.requested, report.found_again, report.kept) == (5, 1, 3)


def test_it_is_planned_like_any_arm_and_curated_by_the_same_rules() -> None:
    experiment = resolved(arms=(ARM, *spec().arms), targets=("fine",), sizes=(3,))
    check_fair(experiment)
    plan = plan_experiment(experiment)
    [step] = [step for step in plan.steps if isinstance(step.request, FindLabelled)]
    assert step.request.model_dump(include={"target", "classes"}) == {"target": "fine", "classes": 3}
    assert plan.upstream is not None
    assert step.inputs == tuple(shard.images for shard in plan.upstream.shards)
    rules = [request.rules for each in plan.steps if isinstance(request := each.request, CurateImages)]
    assert len(rules) == 3
    assert len({identity(each) for each in rules}) == 1
    assert ("fine", "truth") in plan.audits
    assert workload(experiment, plan).images_retrieved_at_most >= 4


def test_another_location_of_the_same_table_is_the_same_step() -> None:
    moved = Labelled(name="truth", labels=TABLE.model_copy(update={"location": "s3://bucket/truth.parquet"}))
    plans = [plan_experiment(resolved(arms=(arm,), sizes=(3,))) for arm in (ARM, moved)]
    assert {step.id for step in plans[0].steps} == {step.id for step in plans[1].steps}


def test_it_can_be_the_parent_of_a_perturbation_and_no_size_is_larger_than_its_table() -> None:
    child = Perturbation(name="moved", parent="truth", gamma=0.4, generator="diffusion")
    check_fair(resolved(arms=(ARM, child), targets=("fine",), sizes=(3,)))
    with pytest.raises(Invalid) as refused:
        check_fair(resolved(arms=(ARM,), targets=("fine",), sizes=(5,)))
    assert refused.value.code == "size_unreachable"
    assert "true class" in planner_of(ARM).describe(ARM)


def test_of_an_upstream_of_links_each_class_is_downloaded_without_a_reserve() -> None:
    lookup = DictLookup()
    embeddings = ArrayFile(location="library:e.npy", digest=sha256(b"e"))
    links = LinkTable(location="library:l.parquet", digest=sha256(b"l"), images=50, image_embeddings=embeddings)
    lookup.upstreams["world"] = lookup.upstreams["world"].model_copy(update={"shards": (links,)})
    plan = plan_experiment(resolve(spec(arms=(ARM,), targets=("fine",), sizes=(3,)), lookup))
    downloads = [step.request for step in plan.steps if isinstance(step.request, DownloadImages)]
    assert [request.class_id for request in downloads] == [0, 1, 2]
    assert all(request.wanted == request.reserve for request in downloads)
