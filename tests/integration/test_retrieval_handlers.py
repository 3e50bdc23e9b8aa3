"""The retrieval handlers end to end: parquet in, curated candidates out, through the runner that serves them."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from qdrant_client import QdrantClient
from support.sent_reports import SentReports
from support.tiny_images import SHAPES, draw_shape, tiny_target, tiny_upstream, write_source
from support.tiny_models import DIMENSION, tiny_encoder
from touchstone_contracts.arms.labelled import LabelTable
from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import Encoder, Source, Target, Upstream
from touchstone_contracts.curation import Curation, KeepAll, KeepTopFraction
from touchstone_contracts.messages import StepFailed, StepMessage
from touchstone_contracts.steps import (
    AUDIT_POOL,
    CURATE_IMAGES,
    EMBED_IMAGES,
    FIND_LABELLED,
    INDEX_UPSTREAM,
    INGEST_IMAGES,
    MIX_POOLS,
    RETRIEVE_IMAGES,
    AuditPool,
    Contract,
    CurateImages,
    EmbeddedShard,
    EmbedImages,
    FindLabelled,
    ImagesCurated,
    IndexUpstream,
    IngestImages,
    MixPools,
    ModelRef,
    RetrieveImages,
)
from touchstone_encoders.loading import EncoderCache
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.index.qdrant_server import QdrantServerIndex
from touchstone_retrieval.tasks import handlers
from touchstone_retrieval.tools import Tools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest
from touchstone_runtime.image_sets import read_images
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import StepRunner, no_progress
from touchstone_runtime.training_sets import draw_training_set, kept_pool, training_set_digest


@dataclass
class World:
    """A worker with memory for an object store, an upstream, a target and an encoder."""

    runner: StepRunner[Tools]
    reports: SentReports
    upstream: Upstream
    target: Target
    encoder: Encoder

    @property
    def artifacts(self) -> Artifacts:
        return self.runner.artifacts

    @property
    def model(self) -> ModelRef:
        return ModelRef.of(self.encoder)

    def run(self, contract: Contract[Any, Any], request: Any) -> str:
        """The step's id, once it has succeeded."""
        step = contract.step_id(request)
        payload = request.model_dump(mode="json")
        self.runner.run(
            StepMessage(step_id=step, attempt=1, kind=contract.name, version=contract.version, request=payload)
        )
        last = self.reports.sent[-1]
        assert not isinstance(last, StepFailed), f"{last.problem.detail}\n{last.log_tail}"
        return step

    def ingest(self, source: Source) -> str:
        return self.run(INGEST_IMAGES, IngestImages(source=source))

    def embed(self, images: str, captions: bool = False) -> EmbeddedShard:
        request = EmbedImages(images=images, encoder=self.model, captions=captions)
        return EmbeddedShard(images=images, embeddings=self.run(EMBED_IMAGES, request))

    def shards(self) -> tuple[EmbeddedShard, ...]:
        return tuple(self.embed(self.ingest(source), captions=True) for source in self.upstream.shards)

    def retrieve(self, strategy: Strategy, seed: int = 0) -> str:
        shards = self.shards()
        index = self.run(INDEX_UPSTREAM, IndexUpstream(shards=shards))
        request = RetrieveImages(
            index=index,
            shards=shards,
            encoder=self.model,
            classes=self.target.classes,
            templates=self.target.templates.retrieval,
            strategy=strategy,
            seed=seed,
        )
        return self.run(RETRIEVE_IMAGES, request)

    def curate(self, *candidates: str, rules: Curation, **changes: Any) -> ImagesCurated:
        return self.artifacts.result(CURATE_IMAGES, self.curation(*candidates, rules=rules, **changes))

    def curation(self, *candidates: str, rules: Curation, **changes: Any) -> str:
        request = CurateImages(
            candidates=tuple(self.embed(step) for step in candidates),
            encoder=self.model,
            classes=self.target.classes,
            templates=self.target.templates.filter,
            test=self.embed(self.ingest(self.target.splits.test)),
            rules=rules,
        )
        return self.run(CURATE_IMAGES, request.model_copy(update=changes))

    def table(self, result: Any) -> pa.Table:
        return self.artifacts.get_table(result.images.manifest)

    def images(self, result: Any) -> list[bytes]:
        return list(read_images(self.artifacts, self.table(result), result.images.shards))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture
def world(library: Path, tmp_path: Path) -> Iterator[World]:
    torch.set_num_threads(1)
    encoder = tiny_encoder(library)
    artifacts, worker_library = Artifacts(MemoryObjects()), Library(library)
    index = QdrantEdgeIndex(tmp_path / "index")
    tools = Tools(artifacts, worker_library, EncoderCache(worker_library, torch.device("cpu")), index)
    reports = SentReports()
    runner = StepRunner(handlers, tools, artifacts, reports, WorkerMetrics(), "retrieval@test", 60)
    yield World(runner, reports, tiny_upstream(library), tiny_target(library), encoder)
    index.close()


def test_every_contract_of_the_queue_is_served() -> None:
    handlers.require_complete()


def test_embeddings_are_unit_rows_in_manifest_order(world: World) -> None:
    shard = world.embed(world.ingest(world.upstream.shards[0]), captions=True)
    result = world.artifacts.result(EMBED_IMAGES, shard.embeddings)
    assert (result.count, result.dimension) == (24, DIMENSION)
    assert result.image_embeddings is not None
    assert result.caption_embeddings is not None
    for blob in (result.image_embeddings, result.caption_embeddings):
        array = world.artifacts.get_array(blob)
        assert array.dtype == np.float16
        assert array.shape == (24, DIMENSION)
        np.testing.assert_allclose(np.linalg.norm(array.astype(np.float32), axis=1), 1, atol=2e-3)


def test_an_image_with_several_rows_has_one_embedding(world: World, library: Path) -> None:
    rng = np.random.default_rng(3)
    red, blue = draw_shape("circle", "red", rng), draw_shape("bar", "blue", rng)
    rows = [{"key": str(i), "image": image, "class_id": i} for i, image in enumerate((red, blue, red, red))]
    shard = world.embed(world.ingest(write_source(library, "repeats", rows)))
    result = world.artifacts.result(EMBED_IMAGES, shard.embeddings)
    assert result.image_embeddings is not None
    array = world.artifacts.get_array(result.image_embeddings)
    assert array.shape == (4, DIMENSION)
    assert (array[[0, 0]] == array[[2, 3]]).all()
    assert (array[0] != array[1]).any()


def test_text_match_finds_the_captions_of_each_class(world: World) -> None:
    result = world.artifacts.result(RETRIEVE_IMAGES, world.retrieve(TextMatch()))
    table = world.table(result)
    assert table.num_rows == result.images.count == 48
    assert result.requested == len(SHAPES) * 500
    for class_id, caption in zip(table["class_id"].to_pylist(), table["caption"].to_pylist(), strict=True):
        assert SHAPES[class_id] in caption.lower()
    assert set(table["found_by"].to_pylist()) == {"text_match/phrase/0"}
    assert np.isnan(table["similarity"].to_numpy()).all()


def test_candidates_point_into_the_upstream_tars(world: World) -> None:
    result = world.artifacts.result(RETRIEVE_IMAGES, world.retrieve(TextMatch()))
    ingested = [world.artifacts.result(INGEST_IMAGES, shard.images) for shard in world.shards()]
    assert {blob.digest for blob in result.images.shards} == {b.digest for r in ingested for b in r.images.shards}
    upstream = dict(
        zip(
            [i for r in ingested for i in world.table(r)["id"].to_pylist()],
            [image for r in ingested for image in world.images(r)],
            strict=True,
        )
    )
    ids, images = world.table(result)["id"].to_pylist(), world.images(result)
    assert len(images) == 48
    assert all(upstream[image_id] == image for image_id, image in zip(ids, images, strict=True))


def test_shards_are_tars_any_webdataset_reader_opens(world: World) -> None:
    ingested = world.artifacts.result(INGEST_IMAGES, world.ingest(world.upstream.shards[0]))
    with tarfile.open(fileobj=io.BytesIO(world.artifacts.get_blob(ingested.images.shards[0]))) as tar:
        names = tar.getnames()
    assert names[:2] == ["000000000.png", "000000000.txt"]
    assert len(names) == 48


@pytest.mark.parametrize(
    ("strategy", "requested"),
    [
        (Semantic(results_per_query=5), 4 * 2 * 2 * 5),
        (Union(semantic=Semantic(results_per_query=5)), 4 * (500 + 2 * 2 * 5)),
        (RandomDraw(images_per_class=6), 24),
    ],
)
def test_every_strategy_ends_in_a_labelled_candidate_set(world: World, strategy: Strategy, requested: int) -> None:
    result = world.artifacts.result(RETRIEVE_IMAGES, world.retrieve(strategy))
    table = world.table(result)
    assert result.requested == requested
    assert 0 < table.num_rows <= requested
    assert len(set(zip(table["class_id"].to_pylist(), table["id"].to_pylist(), strict=True))) == table.num_rows
    assert set(table["class_id"].to_pylist()) <= set(range(len(SHAPES)))
    semantic = np.array([by != "text_match/phrase/0" for by in table["found_by"].to_pylist()])
    assert np.isfinite(table["similarity"].to_numpy()[semantic]).all()


def test_adding_a_shard_upserts_its_rows_alone(world: World, library: Path) -> None:
    upserted: list[str] = []

    class Counting(QdrantClient):
        def upsert(self, *arguments: Any, **options: Any) -> Any:
            upserted.extend(str(point.id) for point in arguments[1])
            return super().upsert(*arguments, **options)

    world.runner.tools = replace(world.runner.tools, index=QdrantServerIndex(Counting(":memory:")))
    shards = world.shards()
    world.run(INDEX_UPSTREAM, IndexUpstream(shards=shards))
    assert len(upserted) == len(set(upserted)) == 48
    rng = np.random.default_rng(9)
    rows = [{"key": str(i), "image": draw_shape("bar", "red", rng), "caption": "a red bar"} for i in range(5)]
    added = world.embed(world.ingest(write_source(library, "added", rows)), captions=True)
    grown = world.run(INDEX_UPSTREAM, IndexUpstream(shards=(added, *shards)))
    assert len(upserted) == len(set(upserted)) == 48 + 5
    assert world.artifacts.result(INDEX_UPSTREAM, grown).count == 53


def test_retrieval_refills_an_index_that_was_lost(world: World, tmp_path: Path) -> None:
    first = world.artifacts.result(RETRIEVE_IMAGES, world.retrieve(Union()))
    tools = world.runner.tools
    elsewhere = QdrantEdgeIndex(tmp_path / "elsewhere")
    fresh = Tools(tools.artifacts, tools.library, tools.encoders, elsewhere)
    request = RetrieveImages(
        index="0" * 64,
        shards=world.shards(),
        encoder=world.model,
        classes=world.target.classes,
        templates=world.target.templates.retrieval,
        strategy=Union(),
        seed=0,
    )
    again = handlers.by_kind["retrieve_images"](request, fresh, no_progress)  # type: ignore[arg-type]
    assert again == first
    elsewhere.close()


def test_curation_keeps_every_candidate_with_its_fate(world: World) -> None:
    found = world.retrieve(Union(semantic=Semantic(results_per_query=5)))
    rules = Curation(filter=KeepTopFraction(fraction=0.5), per_class_cap=4, near_duplicate_cosine=1, leak_cosine=1)
    curated = world.curate(found, rules=rules)
    candidates = world.artifacts.result(RETRIEVE_IMAGES, found)
    table = world.table(curated)
    assert table.num_rows == curated.counts.obtained == candidates.images.count
    assert curated.counts.requested == candidates.requested
    assert table["id"].to_pylist() == world.table(candidates)["id"].to_pylist()
    kept, reasons = table["kept"].to_pylist(), table["drop_reason"].to_pylist()
    assert [reason == "" for reason in reasons] == kept
    assert sum(kept) == curated.counts.kept == sum(curated.kept_by_class)
    assert reasons.count("filtered") == curated.counts.filtered > 0
    assert reasons.count("over_cap") == curated.counts.over_cap > 0
    assert max(curated.kept_by_class) <= 4
    tests = set(
        world.table(world.artifacts.result(INGEST_IMAGES, world.ingest(world.target.splits.test)))["id"].to_pylist()
    )
    assert set(table["nearest_test_id"].to_pylist()) <= tests
    assert np.isfinite(table["score"].to_numpy()).all()
    assert np.isfinite(table["nearest_test_cosine"].to_numpy()).all()


def test_a_test_image_and_a_copy_among_the_candidates_are_dropped(world: World, library: Path) -> None:
    test = world.artifacts.result(INGEST_IMAGES, world.ingest(world.target.splits.test))
    secret = world.images(test)[5]
    fresh = draw_shape("square", "green", np.random.default_rng(99))
    rows = [
        {"key": "leak", "image": secret, "class_id": 1},
        {"key": "fresh", "image": fresh, "class_id": 1},
        {"key": "copy", "image": fresh, "class_id": 1},
    ]
    candidates = world.ingest(write_source(library, "candidates", rows))
    rules = Curation(filter=KeepAll(), near_duplicate_cosine=1, leak_cosine=1)
    curated = world.curate(candidates, rules=rules)
    table = world.table(curated)
    assert table["drop_reason"].to_pylist() == ["leaked", "", "near_duplicate"]
    assert table["nearest_test_id"].to_pylist()[0] == world.table(test)["id"].to_pylist()[5]
    assert table["nearest_test_cosine"].to_pylist()[0] == pytest.approx(1, abs=1e-3)
    assert curated.counts.classes_without_images == (0, 2, 3)


def test_an_image_of_any_test_set_is_a_leak(world: World, library: Path) -> None:
    target = tiny_target(library, further_tests=("pale", "paler"))
    further = [world.ingest(split) for split in target.splits.further_tests.values()]
    last = world.artifacts.result(INGEST_IMAGES, further[1])
    fresh = draw_shape("square", "green", np.random.default_rng(99))
    rows = [
        {"key": key, "image": image, "class_id": 1} for key, image in [("leak", world.images(last)[3]), ("new", fresh)]
    ]
    candidates = world.ingest(write_source(library, "candidates", rows))
    rules = Curation(filter=KeepAll(), near_duplicate_cosine=None, leak_cosine=1)
    curated = world.curate(candidates, rules=rules, further_tests=tuple(world.embed(step) for step in further))
    table = world.table(curated)
    assert table["drop_reason"].to_pylist() == ["leaked", ""]
    assert table["nearest_test_id"].to_pylist()[0] == world.table(last)["id"].to_pylist()[3]
    assert world.curate(candidates, rules=rules).counts.leaked == 0


def test_candidates_in_chunks_are_curated_as_one_set(world: World, library: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [{"key": str(i), "image": draw_shape(SHAPES[i % 4], "blue", rng), "class_id": i % 4} for i in range(16)]
    whole = world.ingest(write_source(library, "whole", rows))
    parts = [world.ingest(write_source(library, f"part{i}", rows[8 * i : 8 * i + 8])) for i in range(2)]
    rules = Curation(filter=KeepTopFraction(fraction=0.5), near_duplicate_cosine=None, leak_cosine=None)
    one, two = world.curate(whole, rules=rules), world.curate(*parts, rules=rules)
    assert one.counts == two.counts
    assert world.table(one)["kept"].to_pylist() == world.table(two)["kept"].to_pylist()
    assert len(two.images.shards) == 2


def test_a_strategy_that_finds_nothing_is_a_declared_fact(world: World) -> None:
    nothing = world.target.model_copy(
        update={
            "classes": tuple(label.model_copy(update={"retrieval_query": "zebra"}) for label in world.target.classes)
        }
    )
    world.target = nothing
    curated = world.curate(world.retrieve(TextMatch()), rules=Curation())
    assert curated.counts.obtained == curated.counts.kept == 0
    assert curated.counts.requested == 2000
    assert curated.counts.classes_without_images == (0, 1, 2, 3)


def test_another_worker_writes_the_same_bytes(world: World, library: Path, tmp_path: Path) -> None:
    rules = Curation(filter=KeepTopFraction(fraction=0.5))
    first = world.curate(world.retrieve(Union()), rules=rules)
    artifacts = Artifacts(MemoryObjects())
    index = QdrantEdgeIndex(tmp_path / "other")
    worker_library = Library(library)
    tools = Tools(artifacts, worker_library, EncoderCache(worker_library, torch.device("cpu")), index)
    runner = StepRunner(handlers, tools, artifacts, SentReports(), WorkerMetrics(), "retrieval@other", 60)
    other = World(runner, runner.reporter, world.upstream, world.target, world.encoder)  # type: ignore[arg-type]
    assert other.curate(other.retrieve(Union()), rules=rules) == first
    index.close()


def test_a_changed_source_file_is_refused(world: World, library: Path) -> None:
    rows = [{"key": "a", "image": draw_shape("bar", "red", np.random.default_rng(0)), "caption": "x"}]
    source = write_source(library, "changing", rows)
    write_source(library, "changing", [rows[0] | {"caption": "y"}])
    request = IngestImages(source=source)
    with pytest.raises(AssertionError, match="registered digest"):
        world.run(INGEST_IMAGES, request)


def test_losses_above_the_limit_stop_the_ingest_and_a_higher_limit_lets_it_pass(world: World, library: Path) -> None:
    good = draw_shape("bar", "red", np.random.default_rng(0))
    rows = [{"key": key, "image": good if key == "a" else b"no image", "caption": "x"} for key in "abcd"]
    source = write_source(library, "lossy", rows)
    with pytest.raises(AssertionError, match=r"3 of 4 images refused: undecodable image 3 \(b, c, d\)"):
        world.run(INGEST_IMAGES, IngestImages(source=source))
    allowed = IngestImages(source=source, most_losses=0.75)
    account = world.artifacts.result(INGEST_IMAGES, world.run(INGEST_IMAGES, allowed)).account
    assert account is not None
    assert (account.seen, account.taken, account.counts) == (4, 1, {"undecodable_image": 3})


def test_candidates_without_a_class_are_refused(world: World) -> None:
    upstream = world.ingest(world.upstream.shards[0])
    with pytest.raises(AssertionError, match=r"class ids outside 0\.\.3"):
        world.curate(upstream, rules=Curation())


EVERYTHING = Curation(filter=KeepAll(), near_duplicate_cosine=None, leak_cosine=None)


def test_images_of_validation_and_of_the_upstream_are_found_among_the_candidates(world: World, library: Path) -> None:
    validation = world.embed(world.ingest(world.target.splits.validation))
    held_out = world.images(world.artifacts.result(INGEST_IMAGES, validation.images))[3]
    shards = world.shards()
    known = world.images(world.artifacts.result(INGEST_IMAGES, shards[1].images))[7]
    fresh = draw_shape("square", "green", np.random.default_rng(99), ground=(90, 10, 10))
    images = {"validation": held_out, "upstream": known, "fresh": fresh}
    rows = [{"key": key, "image": image, "class_id": 1} for key, image in images.items()]
    candidates = world.ingest(write_source(library, "suspects", rows))
    rules = Curation(
        filter=KeepAll(),
        near_duplicate_cosine=None,
        leak_cosine=1,
        leak_splits=("test", "validation"),
        novelty_cosine=1,
        memorisation_cosine=1,
    )
    curated = world.curate(candidates, rules=rules, validation=validation, upstream=shards)
    table = world.table(curated)
    assert table["drop_reason"].to_pylist() == ["leaked_validation", "familiar", ""]
    upstream = world.table(world.artifacts.result(INGEST_IMAGES, shards[1].images))
    assert table["nearest_upstream_id"].to_pylist()[1] == upstream["id"].to_pylist()[7]
    assert (curated.counts.leaked_validation, curated.counts.familiar, curated.counts.kept) == (1, 1, 1)
    assert curated.report is not None
    assert curated.report.memorisation is not None
    assert curated.report.memorisation.share == pytest.approx(1 / 3)
    assert curated.report.class_coverage == 1 / len(SHAPES)


def test_another_encoder_may_look_for_copies(world: World) -> None:
    found = world.retrieve(TextMatch())
    embedded = world.embed(found)
    rules = Curation(filter=KeepAll(), near_duplicate_cosine=1, leak_cosine=1)
    plain = world.curate(found, rules=rules)
    # The same encoder under the other name gives the same answer: the arrays go where they should.
    other = world.curate(found, rules=rules, copy_embeddings=(embedded.embeddings,))
    assert other == plain


def test_a_mixed_pool_shows_each_part_and_moves_no_label(world: World) -> None:
    train = world.target.splits.validation
    half = EVERYTHING.model_copy(update={"filter": KeepTopFraction(fraction=0.5)})
    own = world.curation(world.ingest(train), rules=EVERYTHING)
    found = world.curation(world.retrieve(TextMatch()), rules=half)
    mixed = world.artifacts.result(MIX_POOLS, world.run(MIX_POOLS, MixPools(pools=(own, found))))
    parts = [world.artifacts.result(CURATE_IMAGES, step) for step in (own, found)]
    assert mixed.counts.kept == sum(part.counts.kept for part in parts)
    assert mixed.counts.filtered == parts[1].counts.filtered > 0
    assert mixed.kept_by_class == tuple(map(sum, zip(*(part.kept_by_class for part in parts), strict=True)))
    labels = {
        (part, row["id"], row["class_id"]) for part, each in enumerate(parts) for row in world.table(each).to_pylist()
    }
    rows = world.table(mixed).to_pylist()
    assert {(row["part"], row["id"], row["class_id"]) for row in rows} == labels
    assert len(world.images(mixed)) == len(rows) == mixed.counts.obtained


def test_training_sets_do_not_depend_on_how_candidates_were_cut_or_ordered(world: World, library: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [{"key": str(i), "image": draw_shape(SHAPES[i % 4], "blue", rng), "class_id": i % 4} for i in range(24)]
    rows += [rows[0] | {"key": "copy"}, rows[5] | {"key": "twin"}]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    whole = world.ingest(write_source(library, "all", rows))
    chunks = [world.ingest(write_source(library, f"cut{i}", shuffled[9 * i : 9 * i + 9])) for i in range(3)]
    rules = Curation(filter=KeepTopFraction(fraction=0.7), near_duplicate_cosine=1, leak_cosine=None, per_class_cap=4)
    digests = set()
    for candidates in ((whole,), tuple(chunks), tuple(reversed(chunks))):
        pool = kept_pool(world.table(world.curate(*candidates, rules=rules)))
        assert len(pool) == 16
        for seed in (0, 1):
            digests.add((seed, training_set_digest(pool, draw_training_set(pool, 10, seed, rules))))
    assert len(digests) == 2


def test_manifests_from_before_a_column_existed_are_read(world: World) -> None:
    found = world.retrieve(TextMatch())
    result = world.artifacts.result(RETRIEVE_IMAGES, found)
    old = world.table(result).drop_columns(["query", "part", "nearest_upstream_id"])
    manifest = world.artifacts.manifest(found)
    assert manifest is not None
    images = result.images.model_copy(update={"manifest": world.artifacts.put_table(old)})
    stored = result.model_copy(update={"images": images}).model_dump(mode="json")
    earlier = "0" * 64
    world.artifacts.write_manifest(manifest.model_copy(update={"step_id": earlier, "result": stored}))
    table = world.table(world.curate(earlier, rules=EVERYTHING))
    assert set(table["query"].to_pylist()) == {""}
    assert set(table["part"].to_pylist()) == {-1}


def test_a_pool_is_audited_by_an_encoder_of_its_own_and_without_one(world: World) -> None:
    strategy = Semantic(results_per_query=30)
    rules = Curation(filter=KeepAll(), near_duplicate_cosine=None, leak_cosine=None)
    pool = world.curation(world.retrieve(strategy), rules=rules)
    kept = [row for row in world.table(world.artifacts.result(CURATE_IMAGES, pool)).to_pylist() if row["kept"]]
    # One encoder does everything here; planning refuses that.
    request = AuditPool(
        pool=pool,
        embedded=(world.embed(world.retrieve(strategy)),),
        judge=world.model,
        test=world.embed(world.ingest(world.target.splits.test)),
        classes=world.target.classes,
        templates=world.target.templates.zero_shot,
        sizes=(3, 10_000),
        rules=rules,
    )
    card = world.artifacts.result(AUDIT_POOL, world.run(AUDIT_POOL, request)).card
    assert card.images == len(kept) > 60
    assert card.agreement is not None
    assert (card.agreement.images, sum(card.agreement.agreeing_by_class)) == (len(kept), card.agreement.agreeing)
    assert 0 <= card.agreement.judge_accuracy <= 1
    assert card.captions is not None
    named = [SHAPES[row["class_id"]] in row["caption"].lower() for row in kept]
    assert (card.captions.own, card.captions.own + card.captions.other) == (sum(named), len(kept))
    assert card.labels is not None
    assert card.labels.images == len({row["id"] for row in kept})
    assert card.labels.several > 0
    assert [entry.size for entry in card.balance] == [3]
    assert card.distribution is not None
    assert card.distribution.images == card.labels.images
    assert request.test is not None
    assert card.distribution.test_images == world.artifacts.result(INGEST_IMAGES, request.test.images).images.count
    unjudged = request.model_copy(update={"judge": None})
    again = world.artifacts.result(AUDIT_POOL, world.run(AUDIT_POOL, unjudged)).card
    assert again == card.model_copy(update={"agreement": None})


def test_a_kept_image_that_was_not_embedded_stops_the_audit(world: World) -> None:
    pool = world.curation(world.retrieve(TextMatch()), rules=EVERYTHING)
    request = AuditPool(
        pool=pool,
        embedded=(world.embed(world.ingest(world.target.splits.test)),),
        judge=None,
        test=None,
        classes=world.target.classes,
        templates=world.target.templates.zero_shot,
        sizes=(3,),
        rules=EVERYTHING,
    )
    with pytest.raises(AssertionError, match="were not embedded for the audit"):
        world.run(AUDIT_POOL, request)


def test_upstream_images_are_found_by_their_true_class_and_curated(world: World, library: Path) -> None:
    shards = world.shards()
    tables = [world.table(world.artifacts.result(INGEST_IMAGES, shard.images)) for shard in shards]
    keys = pa.concat_tables(tables)["source_key"].to_pylist()
    truth = {"key": [keys[0], keys[40], keys[1]], "target": ["tiny", "tiny", "other"], "class_id": [2, 0, 1]}
    pq.write_table(pa.table(truth), library / "truth.parquet")
    labels = LabelTable(
        location="library:truth.parquet", digest=file_digest(library / "truth.parquet"), images=len(truth["key"])
    )
    upstream = tuple(shard.images for shard in shards)
    request = FindLabelled(upstream=upstream, labels=labels, target="tiny", classes=len(world.target.classes))
    step = world.run(FIND_LABELLED, request)
    result = world.artifacts.result(FIND_LABELLED, step)
    assert (result.requested, result.images.count) == (2, 2)
    found = world.table(result)
    assert dict(zip(found["source_key"].to_pylist(), found["class_id"].to_pylist(), strict=True)) == {
        keys[0]: 2,
        keys[40]: 0,
    }
    assert set(found["found_by"].to_pylist()) == {"labelled"}
    assert world.images(result)  # they point into the upstream's shards
    assert world.curate(step, rules=EVERYTHING).kept_by_class == (1, 0, 1, 0)
