"""The fake LAION of docs/guides/upstreams.md: described, planned and run step by step, against a web server."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.link_worker import LinkWorker, link_worker, planned_over_links
from support.tiny_images import SHAPES, upstream_rows
from support.tiny_models import DIMENSION, tiny_encoder
from support.web import ENDLESS, Page, Web, serving
from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, TextMatch, Union
from touchstone_contracts.catalogue import Catalogue, Encoder, Upstream
from touchstone_contracts.identity import sha256
from touchstone_contracts.messages import StepSucceeded
from touchstone_contracts.steps import CURATE_IMAGES, DOWNLOAD_IMAGES, ModelRef
from touchstone_encoders.embedding import embed_images
from touchstone_encoders.loading import EncoderCache
from touchstone_planning.plan import plan_upstream
from touchstone_retrieval.describe.__main__ import main as describe
from touchstone_retrieval.describe.shards import describe_shards
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_runtime.digests import file_digest
from touchstone_runtime.image_sets import read_images
from touchstone_runtime.library import Library

ROWS = 24
ROTTEN, STREAM, OPTED_OUT, CHANGED = 0, 1, 2, 3
"""Rows whose links give no image, one of each shape."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def encoder(library: Path) -> Encoder:
    torch.set_num_threads(1)
    return tiny_encoder(library)


@pytest.fixture(scope="module")
def web(library: Path, encoder: Encoder) -> Iterator[Web]:
    """Two parts of LAION-style metadata in library/laion, and the server that their links lead to."""
    rows = upstream_rows(ROWS)
    with serving({f"/{row['key']}.png": Page(row["image"]) for row in rows}) as web:
        paths = list(web.pages)
        del web.pages[paths[ROTTEN]]
        web.pages[paths[OPTED_OUT]] = Page(rows[OPTED_OUT]["image"], headers={"X-Robots-Tag": "noai"})
        web.pages[paths[CHANGED]] = Page(rows[-1]["image"])
        urls = [web.url(ENDLESS if row == STREAM else path) for row, path in enumerate(paths)]
        loaded = EncoderCache(Library(library), torch.device("cpu")).get(ModelRef.of(encoder))
        vectors = embed_images(loaded, [row["image"] for row in rows]).astype(np.float16)
        for part in range(2):
            write_part(library / "laion", part, rows[part::2], urls[part::2], vectors[part::2])
        yield web


def write_part(folder: Path, number: int, rows: list[dict[str, object]], urls: list[str], vectors: np.ndarray) -> None:
    """As clip-retrieval lays them out: metadata/metadata_0.parquet, img_emb/img_emb_0.npy."""
    for name in ("metadata", "img_emb"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    columns = {
        "URL": urls,
        "TEXT": [row["caption"] for row in rows],
        "NSFW": ["UNLIKELY"] * len(rows),
        "sha256": [sha256(row["image"]) for row in rows],  # type: ignore[arg-type]
    }
    pq.write_table(pa.table(columns), folder / f"metadata/metadata_{number}.parquet")
    np.save(folder / f"img_emb/img_emb_{number}.npy", vectors)


@pytest.fixture
def worker(library: Path, tmp_path: Path) -> Iterator[LinkWorker]:
    with link_worker(library, tmp_path) as worker:
        yield worker


@pytest.fixture
def upstream(library: Path, web: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """As the command of the guide describes it."""
    monkeypatch.setenv("TOUCHSTONE_LIBRARY", str(library))
    describe(["upstream", "fake-laion", "library:laion", "--form", "links", "--index-encoder", "tiny-clip"])
    return Catalogue.model_validate(json.loads(capsys.readouterr().out)).upstreams[0]


def test_an_upstream_of_links_is_retrieved_from_and_only_then_downloaded(
    library: Path, encoder: Encoder, upstream: Upstream, web: Web, worker: LinkWorker
) -> None:
    assert [shard.images for shard in upstream.shards] == [ROWS // 2, ROWS // 2]
    plan = planned_over_links(library, upstream, encoder, Union(semantic=Semantic(results_per_query=2)))
    kinds = Counter(step.kind for step in plan.steps)
    assert (kinds["take_embeddings"], kinds["retrieve_images"], kinds["download_images"]) == (2, 2, len(SHAPES))
    web.asked.clear()
    worker.run_all(plan)
    assert len(web.asked) >= ROWS - 1

    artifacts = worker.artifacts
    downloads = [artifacts.result(DOWNLOAD_IMAGES, step.id) for step in plan.steps if step.kind == "download_images"]
    reasons: Counter[str] = Counter()
    for class_id, result in enumerate(downloads):
        table = artifacts.get_table(result.images.manifest)
        images = list(read_images(artifacts, table, result.images.shards))
        assert [sha256(image) for image in images] == table["id"].to_pylist()
        assert set(table["class_id"].to_pylist()) == {class_id}
        report = artifacts.get_table(result.links).to_pylist()
        assert sum(row["outcome"] == "obtained" for row in report) == result.images.count == len(images) > 0
        assert len(report) == result.images.count + sum(result.rejected.values())
        reasons.update(result.rejected)
    assert set(reasons) == {"not_found", "too_many_bytes", "opted_out", "changed"}

    curated = artifacts.result(CURATE_IMAGES, plan.curations["shapes", "retrieved"])
    assert curated.counts.requested == sum(result.requested for result in downloads)
    assert curated.counts.obtained == sum(result.images.count for result in downloads)
    assert curated.counts.kept + curated.counts.label_conflict == curated.counts.obtained


def test_a_part_added_later_is_the_only_one_that_is_read(
    upstream: Upstream, encoder: Encoder, worker: LinkWorker
) -> None:
    first = upstream.model_copy(update={"shards": upstream.shards[:1]})
    for step in plan_upstream(first, encoder).steps:
        assert worker.run(step) is None
    computed = []
    for step in plan_upstream(upstream, encoder).steps:
        assert worker.run(step) is None
        assert isinstance(worker.reports.last, StepSucceeded)
        if not worker.reports.last.found:
            computed.append(step.role)
    assert computed == ["fake-laion/1/ingest", "fake-laion/1/embed", "fake-laion/index"]


def test_rotten_links_are_made_up_for_from_the_deeper_list(
    library: Path, encoder: Encoder, upstream: Upstream, web: Web, worker: LinkWorker
) -> None:
    plan = planned_over_links(library, upstream, encoder, TextMatch(results_per_query=3))
    worker.run_all(plan)
    artifacts = worker.artifacts
    results = [artifacts.result(DOWNLOAD_IMAGES, step.id) for step in plan.steps if step.kind == "download_images"]
    # Each shape has six rows; the first in upstream order is the one whose link is rotten.
    assert [(each.requested, each.images.count, each.topped_up) for each in results] == [(3, 3, 1)] * len(SHAPES)
    assert [each.rejected for each in results] == [
        {"not_found": 1},
        {"too_many_bytes": 1},
        {"opted_out": 1},
        {"changed": 1},
    ]


def test_a_picture_behind_links_of_several_classes_is_dropped_as_a_placeholder(
    library: Path, encoder: Encoder, worker: LinkWorker
) -> None:
    """The first link of each shape leads to one picture."""
    rows, gone = upstream_rows(3 * len(SHAPES), seed=7), upstream_rows(1, seed=8)[0]["image"]
    for row in rows[: len(SHAPES)]:
        row["image"] = gone
    loaded = EncoderCache(Library(library), torch.device("cpu")).get(ModelRef.of(encoder))
    vectors = embed_images(loaded, [row["image"] for row in rows]).astype(np.float16)
    with serving({f"/{row['key']}.png": Page(row["image"]) for row in rows}) as web:
        write_part(library / "gone", 0, rows, [web.url(path) for path in web.pages], vectors)
        (table,) = describe_shards("links", "library:gone", LocationReader(Library(library), None))
        links = Upstream(name="gone", shards=(table,), index_encoder=encoder.name, placeholder_links=len(SHAPES))
        plan = planned_over_links(library, links, encoder, TextMatch(results_per_query=3))
        worker.run_all(plan)
    artifacts = worker.artifacts
    curated = artifacts.result(CURATE_IMAGES, plan.curations["shapes", "retrieved"])
    assert (curated.counts.obtained, curated.counts.placeholder) == (3 * len(SHAPES), len(SHAPES))
    fates = artifacts.get_table(curated.images.manifest).select(("id", "drop_reason")).to_pylist()
    assert {row["drop_reason"] for row in fates if row["id"] == sha256(gone)} == {"placeholder"}
    assert curated.kept_by_class == (2,) * len(SHAPES)


def test_a_random_control_of_links_is_labelled_and_downloaded(
    library: Path, encoder: Encoder, upstream: Upstream, web: Web, worker: LinkWorker
) -> None:
    plan = planned_over_links(library, upstream, encoder, RandomDraw(images_per_class=2))
    worker.run_all(plan)
    counts = worker.artifacts.result(CURATE_IMAGES, plan.curations["shapes", "retrieved"]).counts
    assert counts.requested == 2 * len(SHAPES)
    assert 0 < counts.obtained <= counts.requested


@pytest.mark.parametrize(
    ("shape", "message"),
    [((ROWS // 2 - 1, DIMENSION), "its table has 12 rows"), ((ROWS // 2, DIMENSION + 1), "16 dimensions")],
)
def test_embeddings_of_another_shape_stop_the_ingest(
    library: Path,
    encoder: Encoder,
    upstream: Upstream,
    worker: LinkWorker,
    shape: tuple[int, int],
    message: str,
) -> None:
    wrong = library / "wrong.npy"
    np.save(wrong, np.ones(shape, np.float32))
    shard = upstream.shards[0]
    array = shard.image_embeddings.model_copy(  # type: ignore[union-attr]
        update={"location": "library:wrong.npy", "digest": file_digest(wrong)}
    )
    changed = upstream.model_copy(update={"shards": (shard.model_copy(update={"image_embeddings": array}),)})
    plan = planned_over_links(library, changed, encoder, Semantic())
    first, second = [step for step in plan.steps if step.role.startswith(f"{changed.name}/0/")]
    assert worker.run(first) is None
    problem = worker.run(second)
    assert problem is not None
    assert problem.code == "embeddings_mismatch"
    assert message in problem.detail
