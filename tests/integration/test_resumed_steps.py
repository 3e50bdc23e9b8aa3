"""Steps that are made of many items, killed after everything they save: the same result, and nothing is done twice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.generator_worker import PoolImage, store_pool
from support.killed_steps import Killed, MortalWorker
from support.link_sets import store_links
from support.tiny_images import SHAPES, draw_shape, upstream_rows, write_source
from support.tiny_language_model import tiny_writer
from support.tiny_models import tiny_encoder
from support.tiny_pipeline import IMAGE_SIZE
from support.web import Page, Web, serving
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.arms.prompts import LanguageModel
from touchstone_contracts.catalogue import ClassLabel, Generator
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.sources import AllowedSources
from touchstone_contracts.steps import (
    DOWNLOAD_IMAGES,
    EMBED_IMAGES,
    GENERATE_IMAGES,
    INGEST_IMAGES,
    PERTURB_IMAGES,
    WRITE_CAPTIONS,
    WRITE_PROMPTS,
    Contract,
    DownloadImages,
    EmbedImages,
    GenerateImages,
    IngestImages,
    ModelRef,
    PerturbImages,
    WriteCaptions,
    WritePrompts,
)
from touchstone_contracts.values import Strict
from touchstone_encoders.loading import EncoderCache
from touchstone_generator import tasks as generator_tasks
from touchstone_generator.pipelines import GeneratorCache
from touchstone_generator.prompts.language_model import CausalWriter
from touchstone_generator.sampling.painter import Painter
from touchstone_retrieval import embedding, tasks
from touchstone_retrieval.download.fetching import Fetcher
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.ingest import image_set
from touchstone_retrieval.tools import Tools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.library import Library

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(SHAPES))
TEMPLATES = ("icon of a {name}",)
SAMPLER = Sampler(steps=2, guidance_scale=3.0, batch_size=4)


@dataclass
class Count:
    """Items that were computed, over all attempts."""

    done: int = 0

    def of(self, function: Callable[..., Any], items: Callable[..., int]) -> Callable[..., Any]:
        """`function`, counting what `items` says of its arguments."""

        def counted(*args: Any, **named: Any) -> Any:
            self.done += items(*args)
            return function(*args, **named)

        return counted

    def of_batches(self, function: Callable[..., Iterator[np.ndarray]]) -> Callable[..., Iterator[np.ndarray]]:
        def counted(*args: Any, **named: Any) -> Iterator[np.ndarray]:
            for rows in function(*args, **named):
                self.done += len(rows)
                yield rows

        return counted


@pytest.fixture
def count() -> Count:
    return Count()


@pytest.fixture
def make_generator_worker(library: Path) -> Callable[[], MortalWorker]:
    def tools(artifacts: Artifacts) -> generator_tasks.Tools:
        return generator_tasks.Tools(artifacts, GeneratorCache(Library(library), torch.device("cpu")))

    return lambda: MortalWorker(generator_tasks.handlers, tools)


@pytest.fixture
def make_retrieval_worker(library: Path, tmp_path: Path) -> Callable[[], MortalWorker]:
    worker_library = Library(library, AllowedSources(hosts=("127.0.0.1",)))
    index = QdrantEdgeIndex(tmp_path / "index")

    def tools(artifacts: Artifacts) -> Tools:
        return Tools(
            artifacts, worker_library, EncoderCache(worker_library, torch.device("cpu")), index, private_addresses=True
        )

    return lambda: MortalWorker(tasks.handlers, tools)


def require_same_when_killed(
    make_worker: Callable[[], MortalWorker],
    prepare: Callable[[MortalWorker], Strict],
    contract: Contract[Any, Any],
    count: Count,
    kills: int,
) -> StepManifest:
    """The same result from a worker that is killed so often and from one that is not, with as much work."""
    undisturbed, mortal = make_worker(), make_worker()
    requests = [prepare(worker) for worker in (undisturbed, mortal)]
    count.done = 0
    expected = undisturbed.run(contract, requests[0])
    work, count.done = count.done, 0
    found = mortal.run(contract, requests[1], killed=True)
    assert found.result == expected.result
    assert (mortal.kills, count.done) == (kills, work)
    assert work > 0
    return found


def prompts(worker: MortalWorker) -> str:
    asked = WritePrompts(classes=CLASSES, templates=TEMPLATES, images_per_class=3)
    return worker.run(WRITE_PROMPTS, asked).step_id


def test_generated_images(
    make_generator_worker: Callable[[], MortalWorker],
    generator: Generator,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Painter, "draw", count.of(Painter.draw, lambda painter, drafts, *_: len(drafts)))

    def prepare(worker: MortalWorker) -> GenerateImages:
        return GenerateImages(
            prompts=prompts(worker),
            first=2,
            last=12,
            generator=ModelRef.of(generator),
            image_size=IMAGE_SIZE,
            sampler=SAMPLER,
            seed=7,
        )

    # Rows 2 to 11 lie in three batches of four.
    found = require_same_when_killed(make_generator_worker, prepare, GENERATE_IMAGES, count, kills=3)
    assert found.result["images"]["count"] == 10


def test_perturbed_images(
    make_generator_worker: Callable[[], MortalWorker],
    generator: Generator,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Painter, "draw", count.of(Painter.draw, lambda painter, drafts, *_: len(drafts)))
    rng = np.random.default_rng(0)
    pool = [PoolImage(draw_shape(SHAPES[i % 4], "red", rng, size=IMAGE_SIZE), i % 4) for i in range(9)]

    def prepare(worker: MortalWorker) -> PerturbImages:
        return PerturbImages(
            pool=store_pool(worker.artifacts, pool),
            part=0,
            parts=1,
            gamma=0.6,
            classes=CLASSES,
            templates=TEMPLATES,
            prompt="class_name",
            generator=ModelRef.of(generator),
            image_size=IMAGE_SIZE,
            sampler=SAMPLER,
            seed=7,
        )

    found = require_same_when_killed(make_generator_worker, prepare, PERTURB_IMAGES, count, kills=3)
    assert found.result["images"]["count"] == 9


def test_captions_of_a_language_model(
    make_generator_worker: Callable[[], MortalWorker], library: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CausalWriter, "_continue", count.of(CausalWriter._continue, lambda writer, asks: len(asks)))
    writer = tiny_writer(library, max_new_tokens=8, batch_size=3)
    # A name of one letter, so that noise names it now and then.
    classes = (ClassLabel(id=0, display_name="q"), ClassLabel(id=1, display_name="barn owl"))

    def prepare(worker: MortalWorker) -> WriteCaptions:
        return WriteCaptions(
            classes=classes,
            templates=TEMPLATES,
            images_per_class=4,
            captions=LanguageModel(writer=writer, attempts=2),
            seed=3,
        )

    # Three batches of the first round, then those of what named no class.
    found = require_same_when_killed(make_generator_worker, prepare, WRITE_CAPTIONS, count, kills=6)
    assert found.result["notes"]["rewritten"] > 6


def test_embeddings(
    make_retrieval_worker: Callable[[], MortalWorker], library: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("image_batches", "text_batches"):
        monkeypatch.setattr(embedding, name, count.of_batches(getattr(embedding, name)))
    rows = upstream_rows(150)
    for number, row in enumerate(rows):
        row["caption"] += f" number {number}"
    source, encoder = write_source(library, "to-embed", rows), ModelRef.of(tiny_encoder(library))

    def prepare(worker: MortalWorker) -> EmbedImages:
        ingested = worker.run(INGEST_IMAGES, IngestImages(source=source)).step_id
        return EmbedImages(images=ingested, encoder=encoder, captions=True)

    # Three batches of images and three of captions.
    require_same_when_killed(make_retrieval_worker, prepare, EMBED_IMAGES, count, kills=6)
    assert count.done == len({row["image"] for row in rows}) + len(rows)


def test_ingested_rows(
    make_retrieval_worker: Callable[[], MortalWorker], library: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        image_set, "judged", count.of(image_set.judged, lambda batch: sum(row.image is not None for row in batch))
    )
    monkeypatch.setattr(image_set, "BATCH", 10)
    rows = upstream_rows(35)
    rows[3]["image"], rows[17]["image"] = b"no image", None
    source = write_source(library, "to-ingest", rows)
    found = require_same_when_killed(
        make_retrieval_worker,
        lambda worker: IngestImages(source=source, most_losses=0.1),
        INGEST_IMAGES,
        count,
        kills=4,
    )
    account = found.result["account"]
    assert (account["seen"], account["taken"]) == (35, 33)
    assert account["refused"] == {
        "missing_bytes": {"count": 1, "names": [rows[17]["key"]]},
        "undecodable_image": {"count": 1, "names": [rows[3]["key"]]},
    }


@pytest.fixture
def web() -> Iterator[Web]:
    rng = np.random.default_rng(0)
    pages = {f"/{number}": Page(draw_shape("bar", "red", rng)) for number in range(10)}
    pages["/1"], pages["/4"] = Page(status=404), Page(b"no image")
    with serving(pages) as web:
        yield web


def downloads_of(web: Web) -> Callable[[MortalWorker], DownloadImages]:
    """Six links of which two are rotten, and four in reserve."""
    urls = [web.url(path) for path in web.pages]
    return lambda worker: DownloadImages(
        wanted=store_links(worker.artifacts, "wanted", urls[:6]),
        reserve=store_links(worker.artifacts, "reserve", urls[6:]),
        class_id=0,
    )


def test_downloads_go_on_with_what_came_before_though_its_links_are_dead_by_now(
    make_retrieval_worker: Callable[[], MortalWorker], web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = downloads_of(web)
    undisturbed, mortal = make_retrieval_worker(), make_retrieval_worker()
    expected = undisturbed.run(DOWNLOAD_IMAGES, prepare(undisturbed))
    assert (expected.result["images"]["count"], expected.result["topped_up"]) == (6, 2)
    web.asked.clear()
    attempts = Count()

    class FadingWeb(Fetcher):
        """When an attempt begins, the link whose outcome the one before had saved last is dead."""

        def fetch_all(self, urls: Sequence[str]) -> Any:
            web.pages.pop(f"/{attempts.done - 1}", None)
            attempts.done += 1
            return super().fetch_all(urls)

    monkeypatch.setattr(tasks, "Fetcher", FadingWeb)
    found = mortal.run(DOWNLOAD_IMAGES, prepare(mortal), killed=True)
    assert found.result == expected.result
    assert mortal.kills == 8
    # Link n was asked for by attempts 1 to n + 1 alone: those that had not saved its outcome.
    assert all(web.asked.count(f"/{number}") <= number + 1 for number in range(8))


def test_what_was_made_on_another_kind_of_device_is_made_again(
    make_generator_worker: Callable[[], MortalWorker],
    generator: Generator,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Painter, "draw", count.of(Painter.draw, lambda painter, drafts, *_: len(drafts)))
    worker = make_generator_worker()
    request = GenerateImages(
        prompts=prompts(worker),
        first=0,
        last=12,
        generator=ModelRef.of(generator),
        image_size=IMAGE_SIZE,
        sampler=SAMPLER,
        seed=7,
    )
    worker.objects.deadly = True
    with pytest.raises(Killed):
        worker.attempt(GENERATE_IMAGES, request, 1)
    monkeypatch.setattr(generator_tasks, "arithmetic", lambda device: "another GPU")
    worker.objects.deadly = False
    worker.attempt(GENERATE_IMAGES, request, 2)
    assert count.done == 4 + 12
