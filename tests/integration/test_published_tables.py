"""Tables of links in the layouts that DataComp, CC3M, CC12M and LAION publish: described, searched and downloaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.link_worker import LinkWorker, link_worker, over_links, planned_over_links
from support.tiny_images import SHAPES, upstream_rows
from support.tiny_models import DIMENSION, tiny_encoder
from support.web import Page, Web, serving
from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import Encoder, LinkTable, Upstream
from touchstone_contracts.identity import sha256
from touchstone_contracts.locations import LinkChoices
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import (
    CURATE_IMAGES,
    DOWNLOAD_IMAGES,
    INGEST_IMAGES,
    RETRIEVE_IMAGES,
    TAKE_EMBEDDINGS,
    DescribeSource,
    ModelRef,
    SourceDescribed,
)
from touchstone_encoders.embedding import embed_images, embed_texts
from touchstone_encoders.loading import EncoderCache
from touchstone_planning.dag import Plan
from touchstone_planning.fairness import check_fair
from touchstone_retrieval.describe.described import described
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_runtime.library import Library
from touchstone_runtime.serving import no_progress

ROWS = 24
TEXT_SEARCHES = Union(text_match=TextMatch(results_per_query=2), semantic=Semantic(indexes=("text",)))


@dataclass(frozen=True)
class World:
    library: Path
    encoder: Encoder
    web: Web
    rows: list[dict[str, Any]]
    images: np.ndarray
    """fp16 (ROWS, dimension), of the encoder."""
    captions: np.ndarray

    @property
    def urls(self) -> list[str]:
        return [self.web.url(f"/{row['key']}.png") for row in self.rows]

    @property
    def texts(self) -> list[str]:
        return [row["caption"] for row in self.rows]

    def describe(self, location: str, **choices: Any) -> SourceDescribed:
        request = DescribeSource(
            form="upstream", locations={"": (location,)}, links=LinkChoices(**choices), asked="once"
        )
        return described(request, LocationReader(Library(self.library), None), no_progress)

    def upstream(self, location: str, **choices: Any) -> Upstream:
        return Upstream(name="links", shards=self.describe(location, **choices).shards, index_encoder="tiny-clip")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    torch.set_num_threads(1)
    library = tmp_path_factory.mktemp("library")
    encoder, rows = tiny_encoder(library), upstream_rows(ROWS)
    loaded = EncoderCache(Library(library), torch.device("cpu")).get(ModelRef.of(encoder))
    images = embed_images(loaded, [row["image"] for row in rows]).astype(np.float16)
    captions = embed_texts(loaded, [row["caption"] for row in rows]).astype(np.float16)
    with serving({f"/{row['key']}.png": Page(row["image"]) for row in rows}) as web:
        yield World(library, encoder, web, rows, images, captions)


@pytest.fixture
def worker(world: World, tmp_path: Path) -> Iterator[LinkWorker]:
    with link_worker(world.library, tmp_path) as worker:
        yield worker


def uid(row: int) -> str:
    return sha256(str(row).encode())[:32]


def write_pool(world: World, folder: str, **more: np.ndarray) -> None:
    """Two shards as DataComp has them. The arrays of the other encoder are no embeddings of it."""
    (world.library / folder).mkdir()
    for shard in range(2):
        part, name = slice(shard, None, 2), world.library / folder / f"{shard:08x}"
        cells = {
            "uid": [uid(row) for row in range(ROWS)][part], "url": world.urls[part], "text": world.texts[part],
            "original_width": [32] * (ROWS // 2), "sha256": [sha256(row["image"]) for row in world.rows][part],
        }  # fmt: skip
        pq.write_table(pa.table(cells), f"{name}.parquet")
        arrays = {"b32_img": world.images[part], "b32_txt": world.captions[part], "dedup_features": np.zeros((12, 3))}
        np.savez(f"{name}.npz", **arrays, **{array: rows[part] for array, rows in more.items()})  # type: ignore[arg-type]


def write_uids(world: World, name: str, rows: list[int], *more: str) -> str:
    uids = [*(uid(row) for row in rows), *more]
    pairs = [(int(each[:16], 16), int(each[16:], 16)) for each in uids]
    np.save(world.library / name, np.array(pairs, np.dtype("u8,u8")))
    return f"library:{name}"


def run(world: World, worker: LinkWorker, upstream: Upstream, strategy: Strategy) -> Plan:
    plan = planned_over_links(world.library, upstream, world.encoder, strategy)
    worker.run_all(plan)
    return plan


def downloaded(worker: LinkWorker, plan: Plan) -> list[list[str]]:
    """Ids of the images of each class."""
    results = [
        worker.artifacts.result(DOWNLOAD_IMAGES, step.id) for step in plan.steps if step.kind == "download_images"
    ]
    return [worker.artifacts.get_table(result.images.manifest)["id"].to_pylist() for result in results]


def kept(worker: LinkWorker, plan: Plan) -> int:
    return worker.artifacts.result(CURATE_IMAGES, plan.curations["shapes", "retrieved"]).counts.kept


def test_a_pool_of_datacomp_is_searched_by_the_embeddings_in_its_archives(world: World, worker: LinkWorker) -> None:
    other = np.random.default_rng(0).normal(size=(ROWS, DIMENSION)).astype(np.float16)
    write_pool(world, "pool", l14_img=other, l14_txt=other)
    with pytest.raises(Invalid, match=r"holds embeddings b32, l14: say which in `embeddings`") as refused:
        world.describe("library:pool/*.parquet")
    assert refused.value.code == "unknown_embeddings"
    with pytest.raises(Invalid, match="and not h14"):
        world.describe("library:pool", embeddings="h14")
    upstream = world.upstream("library:pool", embeddings="b32")
    assert [shard.image_embeddings.array for shard in upstream.shards] == ["b32_img"] * 2  # type: ignore[union-attr]
    plan = run(world, worker, upstream, Union(semantic=Semantic(results_per_query=2)))
    taken = [worker.artifacts.result(TAKE_EMBEDDINGS, step.id) for step in plan.steps if step.kind == "take_embeddings"]
    assert [[each.of for each in result.compared or ()] for result in taken] == [["captions", "images"]] * 2
    assert all(found for found in downloaded(worker, plan))
    assert kept(worker, plan) > 0


def test_the_embeddings_of_another_encoder_in_the_archive_are_found_out(world: World, worker: LinkWorker) -> None:
    other = np.random.default_rng(1).normal(size=(ROWS, DIMENSION)).astype(np.float16)
    write_pool(world, "two-encoders", l14_img=other)
    plan = planned_over_links(
        world.library, world.upstream("library:two-encoders", embeddings="l14"), world.encoder, Semantic()
    )
    problems = [worker.run(step) for step in plan.steps if step.kind in ("ingest_images", "take_embeddings")]
    told = [problem for problem in problems if problem is not None]
    assert [problem.code for problem in told] == ["embeddings_mismatch"] * 2
    assert "library:two-encoders/" in told[0].detail


def test_one_pair_of_embeddings_needs_no_name(world: World) -> None:
    write_pool(world, "one-pair")
    (first, _) = world.describe("library:one-pair").shards
    assert isinstance(first, LinkTable)
    assert first.image_embeddings is not None
    assert first.caption_embeddings is not None
    assert (first.image_embeddings.array, first.caption_embeddings.array) == ("b32_img", "b32_txt")
    assert first.image_embeddings.location == "library:one-pair/00000000.npz"


LISTED = [0, 1, 2, 3, 5, 8, 13, 21]


@pytest.mark.parametrize(
    "strategy",
    [TextMatch(results_per_query=20), Semantic(results_per_query=20), RandomDraw(images_per_class=5)],
    ids=lambda strategy: strategy.kind,
)
def test_rows_that_a_list_of_uids_leaves_out_are_found_by_no_search(
    world: World, worker: LinkWorker, strategy: Strategy
) -> None:
    folder = f"listed-{strategy.kind}"
    write_pool(world, folder)
    uids = write_uids(world, f"{folder}.npy", LISTED, "f" * 32)
    found = world.describe(f"library:{folder}", uids=uids)
    assert found.notes == (f"1 of {len(LISTED) + 1} uids of {uids} are in no table",)
    upstream = Upstream(name="links", shards=found.shards, index_encoder="tiny-clip")
    plan = run(world, worker, upstream, strategy)
    accounts = [
        worker.artifacts.result(INGEST_IMAGES, step.id).account
        for step in plan.steps
        if step.kind == "ingest_images" and "links/" in step.role
    ]
    assert [(each.seen, each.taken, each.losses) for each in accounts if each] == [(3, 3, 0), (5, 5, 0)]
    assert [each.notes["not_listed"].count for each in accounts if each] == [9, 7]
    taken = [worker.artifacts.result(TAKE_EMBEDDINGS, step.id) for step in plan.steps if step.kind == "take_embeddings"]
    assert [result.unusable for result in taken] == [{}, {}]
    first = next(step for step in plan.steps if step.kind == "retrieve_images")
    retrieved = worker.artifacts.result(RETRIEVE_IMAGES, first.id)
    urls = worker.artifacts.get_table(retrieved.images.manifest)["source_key"].to_pylist()
    assert {world.urls.index(url) for url in urls} == set(LISTED)
    assert {image for images in downloaded(worker, plan) for image in images} == {
        sha256(world.rows[row]["image"]) for row in LISTED
    }


def test_cc3m_and_cc12m_are_searched_by_their_captions(world: World, worker: LinkWorker) -> None:
    pairs = list(zip(world.texts, world.urls, strict=True))
    (world.library / "cc3m.tsv").write_text("".join(f"{text}\t{url}\n" for text, url in pairs))
    (world.library / "cc12m.tsv").write_text("".join(f"{url}\t{text}\n" for text, url in pairs))
    for name in ("cc3m", "cc12m"):
        found = world.describe(f"library:{name}.tsv")
        assert len(found.notes) == 1
        assert "can be found by captions alone" in found.notes[0]
        upstream = Upstream(name="links", shards=found.shards, index_encoder="tiny-clip")
        assert (upstream.images, upstream.searches_images) == (ROWS, False)
        plan = run(world, worker, upstream, TEXT_SEARCHES)
        (step,) = (step for step in plan.steps if step.kind == "take_embeddings")
        taken = worker.artifacts.result(TAKE_EMBEDDINGS, step.id)
        assert (taken.image_embeddings, taken.dimension, taken.notes) == (None, DIMENSION, {})
        assert taken.caption_embeddings is not None
        images = downloaded(worker, plan)
        assert len(images) == len(SHAPES)
        assert all(images)
        assert kept(worker, plan) > 0


@pytest.mark.parametrize("strategy", [Union(), Semantic(), RandomDraw()], ids=lambda strategy: strategy.kind)
def test_without_embeddings_of_images_a_search_of_them_is_refused(world: World, strategy: Strategy) -> None:
    (world.library / "refused.tsv").write_text(f"{world.urls[0]}\t{world.texts[0]}\n")
    upstream = world.upstream("library:refused.tsv")
    with pytest.raises(Invalid, match="before they are downloaded") as refused:
        check_fair(over_links(world.library, upstream, world.encoder, strategy))
    assert refused.value.code == "no_image_embeddings"


def test_the_folders_of_laion_400m_are_found(world: World) -> None:
    for folder in ("metadata", "images", "texts"):
        (world.library / "laion400m" / folder).mkdir(parents=True)
    root = world.library / "laion400m"
    pq.write_table(pa.table({"URL": world.urls, "TEXT": world.texts}), root / "metadata/metadata_0.parquet")
    np.save(root / "images/img_emb_0.npy", world.images)
    np.save(root / "texts/text_emb_0.npy", world.captions)
    (table,) = world.describe("library:laion400m/metadata").shards
    assert isinstance(table, LinkTable)
    assert table.image_embeddings is not None
    assert table.caption_embeddings is not None
    assert table.image_embeddings.location == "library:laion400m/images/img_emb_0.npy"
    assert table.caption_embeddings.location == "library:laion400m/texts/text_emb_0.npy"


def test_tables_with_and_without_embeddings_are_no_one_upstream(world: World) -> None:
    write_pool(world, "half")
    (world.library / "half/00000001.npz").unlink()
    with pytest.raises(ValueError, match="1 of 2 tables of links have no image embeddings, such as library:half/"):
        world.upstream("library:half")


def test_what_only_links_have_is_refused_of_others(world: World) -> None:
    (world.library / "photos").mkdir()
    (world.library / "photos/a.png").write_bytes(world.rows[0]["image"])
    with pytest.raises(Invalid, match="are of links, and the files are image_folder") as refused:
        world.describe("library:photos", most_unsafe=0.5)
    assert refused.value.code == "bad_column"


def test_an_archive_that_is_none_is_refused_when_it_is_described(world: World) -> None:
    write_pool(world, "broken")
    (world.library / "broken/00000000.npz").write_bytes(b"no archive")
    with pytest.raises(Invalid, match=r"library:broken/00000000\.npz cannot be read as \.npz") as refused:
        world.describe("library:broken")
    assert refused.value.code == "unreadable_source"
